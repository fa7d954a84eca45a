"""Texts as the token ids that a causal language model goes on from, without an end."""

from collections.abc import Sequence

from fedtt.data.tokens import Tokenizer
from fedtt.errors import ConfigError


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, bos: bool) -> list[list[int]]:
    """Token ids of every text; with ``bos`` as the tokenizer starts a text, without an end."""
    if not texts:
        return []
    special = begin_token(tokenizer) if bos else None
    start = [special] if special is not None and _adds_bos(tokenizer, special) else []
    return [[*start, *ids] for ids in _ids(tokenizer, texts, special=False)]


def begin_token(tokenizer: Tokenizer) -> int | None:
    """Id of the token that begins a text, where the tokenizer has one."""
    begin: int | None = getattr(tokenizer, "bos_token_id", None)
    return begin


def end_token(tokenizer: Tokenizer) -> int:
    """Id of the token that ends a text. Raises :class:`ConfigError` where there is none."""
    end: int | None = getattr(tokenizer, "eos_token_id", None)
    if end is None:
        raise ConfigError(
            "the tokenizer has no end token, so the model could never learn to stop",
            where="model.name",
            fix="use a causal language model with an end token (eos_token)",
        )
    return end


def _adds_bos(tokenizer: Tokenizer, bos: int) -> bool:
    """Whether the tokenizer itself begins a text with the token ``bos``."""
    return _ids(tokenizer, ["a"], special=True)[0][:1] == [bos]


def _ids(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    return tokenizer(
        list(texts),
        padding=False,
        truncation=False,
        max_length=None,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
        add_special_tokens=special,
    )["input_ids"]
