"""Texts for causal language models: token ids, and which of them are to be learned."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedtt.data.tokens import TokenizedTexts, Tokenizer, join_rows
from fedtt.data.types import LabeledTexts
from fedtt.errors import ConfigError, DataError


class ChatTokenizer(Tokenizer, Protocol):
    """A tokenizer that can also write a conversation down."""

    eos_token_id: int | None
    chat_template: str | None

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """The conversation as the model was trained to read it."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Example:
    """Token ids before those to be learned, and these."""

    given: Sequence[int]
    learned: Sequence[int]


def tokenize_texts(texts: LabeledTexts, *, tokenizer: Tokenizer, max_length: int) -> TokenizedTexts:
    """Every token of every text to be learned, and the end token after it.

    A text of more than ``max_length`` tokens is cut at its end, the end token with it. Raises as
    :func:`tokenize_completions`.
    """
    end = end_token(tokenizer)
    rows = [
        _Example(given=(), learned=(*ids, end)) for ids in encode(tokenizer, texts.texts, bos=True)
    ]
    for text, row in zip(texts.texts, rows, strict=True):
        _check_learned(row.learned[:-1], text)
    return _pack(rows, max_length=max_length, texts=texts)


def tokenize_completions(
    texts: LabeledTexts, *, tokenizer: ChatTokenizer, max_length: int, chat: bool
) -> TokenizedTexts:
    """Prompts (``texts``) followed by completions (``pairs``) and the end token; only the
    completion and the end token are to be learned.

    With ``chat`` a prompt is a JSON list of messages, written down by the tokenizer's chat
    template. What is longer than ``max_length`` loses the beginning of its prompt; a completion
    that is longer by itself loses its end.

    Raises:
        ConfigError: the tokenizer has no end token or, with ``chat``, no chat template.
        DataError: a completion has no tokens.
    """
    end = end_token(tokenizer)
    prompts = prompt_ids(texts.texts, tokenizer=tokenizer, chat=chat)
    completions = encode(tokenizer, texts.pairs or (), bos=False)
    rows = []
    for given, learned, text in zip(prompts, completions, texts.texts, strict=True):
        _check_learned(learned, text)
        rows.append(_Example(given=given, learned=(*learned, end)))
    return _pack(rows, max_length=max_length, texts=texts)


def prompt_ids(prompts: Sequence[str], *, tokenizer: ChatTokenizer, chat: bool) -> list[list[int]]:
    """Token ids of prompts as a model reads them before it writes.

    Raises:
        ConfigError: with ``chat``, a tokenizer without a chat template.
    """
    if not chat:
        return encode(tokenizer, prompts, bos=True)
    if not tokenizer.chat_template:
        raise ConfigError(
            "the tokenizer has no chat template",
            where="task.messages",
            fix="use a model that was tuned on conversations, or data with task.prompt and "
            "task.completion",
        )
    written = [
        tokenizer.apply_chat_template(
            json.loads(prompt), tokenize=False, add_generation_prompt=True
        )
        for prompt in prompts
    ]
    return encode(tokenizer, written, bos=False)


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, bos: bool) -> list[list[int]]:
    """Token ids of every text; with ``bos`` as the tokenizer starts a text, without an end."""
    if not texts:
        return []
    special = getattr(tokenizer, "bos_token_id", None) if bos else None
    start = [special] if special is not None and _adds_bos(tokenizer, special) else []
    return [[*start, *ids] for ids in _ids(tokenizer, texts, special=False)]


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


def _check_learned(learned: Sequence[int], text: str) -> None:
    if not learned:
        raise DataError(
            "an example has no tokens to learn",
            where=f"the text or prompt {text[:60]!r}",
            expected="at least one token",
            fix="take the example out",
        )


def _pack(rows: Sequence[_Example], *, max_length: int, texts: LabeledTexts) -> TokenizedTexts:
    if max_length < 2:
        raise ConfigError(
            "max_length leaves no token to predict from another",
            where="model.max_length",
            got=max_length,
            expected="2 or more",
        )
    cut = [_cut(row, max_length) for row in rows]
    lengths = [len(row.given) + len(row.learned) for row in rows]
    learned = [[0] * len(row.given) + [1] * len(row.learned) for row in cut]
    return join_rows(
        [[*row.given, *row.learned] for row in cut],
        texts=texts,
        truncated=[length > max_length for length in lengths],
        learned=learned,
    )


def _cut(row: _Example, max_length: int) -> _Example:
    # One token of the prompt always stays: the first learned one is predicted from it.
    least = min(1, len(row.given))
    learned = row.learned[: max_length - least]
    keep = max_length - len(learned)
    return _Example(given=row.given[max(0, len(row.given) - keep) :], learned=learned)
