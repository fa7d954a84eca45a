"""The tokenizer of a base model."""

from typing import Literal

from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from fedtt.errors import ModelError
from fedtt.models.configuration import load_model_config
from fedtt.models.gguf_file import gguf_arguments
from fedtt.models.model_files import explained, locate_model


def load_tokenizer(
    name: str, *, revision: str | None = None, padding_side: Literal["left", "right"] = "right"
) -> PreTrainedTokenizerBase:
    """The model's tokenizer, which pads on ``padding_side`` whatever its own files say.

    Right is what every model trains and classifies with; a batch of prompts to go on from is
    padded on the left. Where it has no pad token, the end token serves: the mask hides it.

    Raises :class:`ModelError` where there is no tokenizer, or one without words, with neither pad
    nor end token, or with tokens for which the model has no embedding.
    """
    config = load_model_config(name, revision=revision)
    place, file = gguf_arguments(locate_model(name))
    with explained(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            place, revision=revision or "main", trust_remote_code=False, **file
        )
    tokenizer.padding_side = padding_side
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(
                "the tokenizer has neither a pad nor an end token",
                where=f"model.name = {name!r}",
                expected="a token to fill up short texts with",
                fix="set pad_token in the model's tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token
    _check_vocabulary(tokenizer, config, name=name)
    return tokenizer


def _check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, name: str
) -> None:
    special = {token for token, text in tokenizer.added_tokens_decoder.items() if text.special}
    words = set(tokenizer.get_vocab().values()) - special - set(tokenizer.all_special_ids)
    if not words:
        # transformers makes an empty tokenizer up where a directory has no files of one.
        raise ModelError(
            "the tokenizer has no tokens but special ones",
            where=f"model.name = {name!r}",
            got=f"{len(tokenizer)} tokens",
            expected="the model's vocabulary: tokenizer.json, or the files of a slow tokenizer",
            fix="save the tokenizer into the model's directory",
        )
    added = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    largest = max(words.union(token for token in added if token is not None))
    rows: int | None = getattr(config.get_text_config(), "vocab_size", None)
    if rows is not None and largest >= rows:
        raise ModelError(
            "the tokenizer has tokens that the model has no embedding for",
            where=f"model.name = {name!r}",
            got=f"token id {largest} ({tokenizer.convert_ids_to_tokens(largest)})",
            expected=f"ids below vocab_size = {rows}",
            fix="use the tokenizer that the model was trained with, or save the model after "
            "resize_token_embeddings(len(tokenizer))",
        )
