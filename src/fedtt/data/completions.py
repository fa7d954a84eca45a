"""Texts for causal language models: token ids, and which of them are to be learned."""

from collections.abc import Sequence
from datetime import date

from fedtt.data.chats import ChatTokenizer, Learned, chat_format, learn_turns, write_prompt
from fedtt.data.examples import LabeledTexts
from fedtt.data.token_ids import begin_token, encode, end_token
from fedtt.data.tokens import TokenizedTexts, Tokenizer, join_rows
from fedtt.errors import ConfigError, DataError


def tokenize_texts(texts: LabeledTexts, *, tokenizer: Tokenizer, max_length: int) -> TokenizedTexts:
    """Every token of every text to be learned, and the end token after it.

    A text of more than ``max_length`` tokens is cut at its end, the end token with it. Raises as
    :func:`tokenize_completions`.
    """
    end = end_token(tokenizer)
    rows = [Learned(before=(), ids=(*ids, end)) for ids in encode(tokenizer, texts.texts, bos=True)]
    for text, row in zip(texts.texts, rows, strict=True):
        _check_learned(row.ids[:-1], text)
    return _pack(rows, max_length=max_length, texts=texts, begin=None)


def tokenize_completions(
    texts: LabeledTexts,
    *,
    tokenizer: ChatTokenizer,
    max_length: int,
    chat: bool,
    today: date | None = None,
) -> TokenizedTexts:
    """Prompts (``texts``) followed by completions (``pairs``) and what ends them; only the
    completion and its end are to be learned.

    With ``chat`` a prompt is a JSON list of messages and the completion the assistant's turn after
    them, both written down by the tokenizer's chat template: the turn begins and ends as it does
    there, and a date in it is ``today``. A last message without content is what the completion's
    has besides. Without ``chat`` the end is the tokenizer's end token. What is longer than
    ``max_length`` loses the beginning of its prompt, but for the token that begins a text; a
    completion that is longer by itself loses its end.

    Raises:
        ConfigError: the tokenizer has no end token or, with ``chat``, no chat template, or one that
            writes the date where ``today`` is None.
        DataError: a completion has no tokens, or the chat template refuses a conversation.
    """
    pairs = texts.pairs or ()
    if chat:
        rows = _turns(texts.texts, pairs, tokenizer=tokenizer, today=today)
    else:
        rows = _completions(texts.texts, pairs, tokenizer=tokenizer)
    return _pack(rows, max_length=max_length, texts=texts, begin=begin_token(tokenizer))


def prompt_ids(
    prompts: Sequence[str], *, tokenizer: ChatTokenizer, chat: bool, today: date | None = None
) -> list[list[int]]:
    """Token ids of prompts as a model reads them before it writes.

    Raises like :func:`tokenize_completions`.
    """
    if not chat:
        return encode(tokenizer, prompts, bos=True)
    written = chat_format(tokenizer, today=today)
    return encode(tokenizer, [write_prompt(written, prompt) for prompt in prompts], bos=False)


def stop_tokens(tokenizer: ChatTokenizer, *, chat: bool, today: date | None = None) -> set[int]:
    """Ids of the tokens that what is learned ends with, the tokenizer's end token among them."""
    taught = {chat_format(tokenizer, today=today).end_token} if chat else set()
    own = getattr(tokenizer, "eos_token_id", None)
    return taught if own is None else {own, *taught}


def _turns(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    tokenizer: ChatTokenizer,
    today: date | None,
) -> list[Learned]:
    if not prompts:
        return []
    return learn_turns(chat_format(tokenizer, today=today), prompts, completions)


def _completions(
    prompts: Sequence[str], completions: Sequence[str], *, tokenizer: ChatTokenizer
) -> list[Learned]:
    end = end_token(tokenizer)
    given, learned = encode(tokenizer, prompts, bos=True), encode(tokenizer, completions, bos=False)
    for ids, prompt in zip(learned, prompts, strict=True):
        _check_learned(ids, prompt)
    return [
        Learned(before=before, ids=(*ids, end)) for before, ids in zip(given, learned, strict=True)
    ]


def _check_learned(learned: Sequence[int], text: str) -> None:
    if not learned:
        raise DataError(
            "an example has no tokens to learn",
            where=f"the text or prompt {text[:60]!r}",
            expected="at least one token",
            fix="take the example out",
        )


def _pack(
    rows: Sequence[Learned], *, max_length: int, texts: LabeledTexts, begin: int | None
) -> TokenizedTexts:
    if max_length < 2:
        raise ConfigError(
            "max_length leaves no token to predict from another",
            where="model.max_length",
            got=max_length,
            expected="2 or more",
        )
    cut = [_cut(row, max_length, begin=begin) for row in rows]
    lengths = [len(row.before) + len(row.ids) for row in rows]
    learned = [[0] * len(row.before) + [1] * len(row.ids) for row in cut]
    return join_rows(
        [[*row.before, *row.ids] for row in cut],
        texts=texts,
        truncated=[length > max_length for length in lengths],
        learned=learned,
    )


def _cut(row: Learned, max_length: int, *, begin: int | None) -> Learned:
    """What fits: the prompt loses its beginning, but for the token ``begin`` that begins a text."""
    first = list(row.before[:1]) if begin is not None and row.before[:1] == [begin] else []
    # One token of the prompt always stays: the first learned one is predicted from it.
    least = min(len(first) + 1, len(row.before), max_length - 1)
    learned = row.ids[: max_length - least]
    keep = max_length - len(learned)
    if len(row.before) <= keep:
        return Learned(before=row.before, ids=learned)
    rest = row.before[len(row.before) - (keep - len(first)) :] if keep > len(first) else []
    return Learned(before=[*first, *rest], ids=learned)
