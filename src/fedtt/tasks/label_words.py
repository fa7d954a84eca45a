"""Classification by a causal language model: which of a few words would come next.

The word a prompt ends before stands for the class ("verbalizer" in Schick and Schütze 2021). Only
the logits of the classes' words, at the prompt's last token, are compared, in training and after.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fedtt.data import LabeledTexts, TokenizedTexts
from fedtt.data.token_ids import encode
from fedtt.data.tokens import Tokenizer, join_rows
from fedtt.errors import ConfigError
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import AT, logits_at
from fedtt.tasks.classification import task_of_classes
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.task import Task

TEXT, PAIR = "{text}", "{pair}"
_BEFORE = "Answer:"  # a word is tokenized after something, as it will be


def build(inputs: TaskInputs) -> Task:
    """The task, as ``[task]`` and the named task describe it."""
    return label_words(
        tokenizer=inputs.tokenizer,
        pad_token_id=inputs.pad_token_id,
        prompt=inputs.prompt,
        words=inputs.words,
        label_names=inputs.label_names,
        metrics=inputs.metrics,
    )


def label_words(
    *,
    tokenizer: Tokenizer,
    pad_token_id: int,
    prompt: str,
    words: Sequence[str],
    label_names: Sequence[str],
    metrics: Sequence[str] = (),
) -> Task:
    """The task of a causal model that names the class of a text.

    ``prompt`` has ``{text}``, and ``{pair}`` where examples are pairs; ``words`` are the classes'
    words in the order of ``label_names``; ``metrics`` as in :func:`task_of_classes`.

    Raises:
        ConfigError: a prompt without ``{text}``, another number of words than of classes, a word
            that is not one token, or two words of the same token.
    """
    check_prompt(prompt)
    tokens = torch.tensor(word_tokens(words, label_names=label_names, tokenizer=tokenizer))
    return task_of_classes(
        model_class="causal",
        tokenize=partial(_tokenize, tokenizer, prompt),
        class_logits=partial(_logits_of_words, tokens),
        pad_token_id=pad_token_id,
        metrics=metrics,
        positions=_last_token,
    )


def check_prompt(prompt: str) -> None:
    """Raise :class:`ConfigError` unless ``{text}`` occurs once, and ``{pair}`` at most once."""
    if prompt.count(TEXT) != 1 or prompt.count(PAIR) > 1 or prompt != prompt.rstrip():
        raise ConfigError(
            "the prompt does not say where the text goes",
            where="task.prompt",
            got=repr(prompt),
            expected="{text} once, {pair} once where examples are pairs, and no white space at "
            "the end: the label word brings its own",
            fix='for example "Review: {text}\\nSentiment:"',
        )


def word_tokens(
    words: Sequence[str], *, label_names: Sequence[str], tokenizer: Tokenizer
) -> list[int]:
    """The token of every class's word, as it follows the prompt after a space."""
    if len(words) != len(label_names):
        raise ConfigError(
            "every class needs one word",
            where="task.words",
            got=f"{len(words)} words ({', '.join(words)})",
            expected=f"{len(label_names)}, for {', '.join(label_names)}",
            fix="give one word for each class, in the order of the classes",
        )
    (before,) = encode(tokenizer, [_BEFORE], bos=False)
    unknown, tokens = getattr(tokenizer, "unk_token_id", None), []
    for word, whole in zip(
        words, encode(tokenizer, [f"{_BEFORE} {word}" for word in words], bos=False), strict=True
    ):
        rest = whole[len(before) :]
        if whole[: len(before)] != before or len(rest) != 1 or rest[0] == unknown:
            raise ConfigError(
                "a label word is not one token of the model",
                where="task.words",
                got=f"{word!r}: {'unknown' if rest == [unknown] else f'{len(rest)} tokens'}",
                expected="a common word that the tokenizer knows as one token",
                fix="choose another word for the class, such as yes, no, good, bad, true, false",
            )
        tokens.append(rest[0])
    if len(set(tokens)) < len(tokens):
        raise ConfigError(
            "two label words are the same token",
            where="task.words",
            got=", ".join(f"{w!r}: {t}" for w, t in zip(words, tokens, strict=True)),
            expected="a different token for every class",
        )
    return tokens


def _last_token(batch: Batch) -> Tensor:
    """Of each text, ``(b, 1)``; padding is on the right."""
    return batch["attention_mask"].sum(dim=1, keepdim=True) - 1


def _logits_of_words(tokens: Tensor, logits: Tensor, batch: Batch) -> Tensor:
    """``(b, classes)`` at the last token of each text, of the logits there or at all tokens."""
    if AT not in batch:
        length = batch["input_ids"].shape[1]
        logits = logits_at(logits, _last_token(batch), length=length)
    return logits[:, 0, tokens.to(logits.device)]


def _tokenize(
    tokenizer: Tokenizer, prompt: str, texts: LabeledTexts, *, max_length: int
) -> TokenizedTexts:
    """Every example in its prompt. Of one that is too long, the text loses its end."""
    before, after = prompt.split(TEXT)
    pairs = texts.pairs if texts.pairs is not None else ("",) * len(texts)
    written = [
        (before.replace(PAIR, pair), text, after.replace(PAIR, pair))
        for text, pair in zip(texts.texts, pairs, strict=True)
    ]
    rows = encode(tokenizer, ["".join(parts) for parts in written], bos=True)
    too_long = [len(row) > max_length for row in rows]
    rows = [
        _shorten(tokenizer, parts, max_length=max_length) if long else row
        for row, parts, long in zip(rows, written, too_long, strict=True)
    ]
    return join_rows(rows, texts=texts, truncated=too_long)


def _shorten(tokenizer: Tokenizer, parts: tuple[str, str, str], *, max_length: int) -> list[int]:
    """The prompt with as many of the text's words as fit; found by halving."""
    before, text, after = parts
    words = text.split()

    def row(count: int) -> list[int]:
        return encode(tokenizer, [before + " ".join(words[:count]) + after], bos=True)[0]

    least, most = 0, len(words) - 1  # fits, as far as anything does; and may
    if len(row(0)) > max_length:
        raise ConfigError(
            "the prompt alone is longer than the model may read",
            where="model.max_length",
            got=f"{len(row(0))} tokens without the text, max_length {max_length}",
            fix="raise model.max_length, or shorten task.prompt and the second texts",
        )
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if len(row(middle)) <= max_length else (least, middle - 1)
    return row(least)
