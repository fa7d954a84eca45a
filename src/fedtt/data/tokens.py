"""Texts as token ids, kept ragged, and padded one batch at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from fedtt.data.examples import LabeledTexts, select_column
from fedtt.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

BATCH = 1024
_Row = tuple[list[int], list[int] | None]  # token ids, and token types of a pair
IGNORED = -100  # a target that is none, as torch and transformers have it


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer, fast or slow."""

    def __call__(
        self,
        text: list[str],
        *,
        padding: bool,
        truncation: bool,
        max_length: int | None,
        return_attention_mask: bool,
        return_token_type_ids: bool | None,
        verbose: bool,
        text_pair: list[str] | None = None,
        add_special_tokens: bool = True,
    ) -> "dict[str, list[list[int]]]":
        """``{"input_ids": ...}`` with special tokens, and ``token_type_ids`` on request or,
        where ``return_token_type_ids`` is None, if the model reads them.
        """
        ...

    def num_special_tokens_to_add(self, pair: bool = False) -> int:  # noqa: FBT001, FBT002
        """How many special tokens a single text gets, or a pair."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedTexts:
    """Token ids of n texts, end to end: text i is ``flat[offsets[i] : offsets[i + 1]]``.

    ``flat`` is int32 of shape ``(total,)``, ``offsets`` int64 ``(n + 1,)``, ``labels`` int64
    ``(n,)``; ``truncated``, bool ``(n,)``, tells which were longer than allowed. ``token_types``,
    int8 and laid out like ``flat``, tells the two texts of a pair apart; it is None for single
    texts, which are of type 0, and where the tokenizer has no types. ``learned``, int8 and laid
    out like ``flat``, is 1 where a causal language model is to learn the token; None where labels
    are learned.
    ``references``, ``groups`` and ``targets`` are those of the texts, where they have any.
    """

    flat: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    truncated: np.ndarray
    token_types: np.ndarray | None = None
    learned: np.ndarray | None = None
    references: tuple[tuple[str, ...], ...] | None = None
    groups: tuple[str, ...] | None = None
    targets: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every text, int64 ``(n,)``."""
        return np.diff(self.offsets)

    @property
    def prompt_lengths(self) -> np.ndarray:
        """Tokens of every text that are not to be learned, int64 ``(n,)``."""
        if self.learned is None:
            return self.lengths
        learned = np.cumsum([0, *self.learned], dtype=np.int64)[self.offsets]
        prompts: np.ndarray = self.lengths - np.diff(learned)
        return prompts

    @property
    def num_truncated(self) -> int:
        """How many texts were longer than allowed."""
        return int(self.truncated.sum())

    def select(self, indices: np.ndarray) -> "TokenizedTexts":
        """The texts at ``indices``, in their order; no copy of what is consecutive."""
        first, count = (int(indices[0]), len(indices)) if len(indices) else (0, 0)
        consecutive = bool((np.diff(indices) == 1).all())
        if consecutive:
            start = int(self.offsets[first])
            tokens: slice | np.ndarray = slice(start, int(self.offsets[first + count]))
            rows: slice | np.ndarray = slice(first, first + count)
            offsets = self.offsets[first : first + count + 1] - start
        else:
            lengths = self.offsets[indices + 1] - self.offsets[indices]
            offsets = np.cumsum([0, *lengths], dtype=np.int64)
            # For every token: where its text starts in the pool, and how far into it the token is.
            starts = np.repeat(self.offsets[indices] - offsets[:-1], lengths)
            tokens, rows = starts + np.arange(offsets[-1]), indices
        return TokenizedTexts(
            flat=self.flat[tokens],
            offsets=offsets,
            labels=self.labels[rows],
            truncated=self.truncated[rows],
            token_types=None if self.token_types is None else self.token_types[tokens],
            learned=None if self.learned is None else self.learned[tokens],
            references=select_column(self.references, indices),
            groups=select_column(self.groups, indices),
            targets=select_column(self.targets, indices),
        )

    def input_ids(self, index: int) -> np.ndarray:
        """Token ids of one text, int32 ``(length,)``."""
        return self.flat[self.offsets[index] : self.offsets[index + 1]]


def tokenize(texts: LabeledTexts, tokenizer: Tokenizer, *, max_length: int) -> TokenizedTexts:
    """Every text as token ids with the tokenizer's special tokens, at most ``max_length`` long.

    The two texts of a pair follow each other as the tokenizer joins them. The tokenizer's own
    truncation decides what is cut (of a pair, the longer text first), so special tokens stay. (A
    fast tokenizer remembers the last truncation setting; that is the one thing changed in it.)

    Raises:
        ConfigError: ``max_length`` has no room for a token beside the special ones.
        DataError: a text has no tokens at all.
    """
    num_special = tokenizer.num_special_tokens_to_add(pair=texts.pairs is not None)
    if max_length <= num_special:
        raise ConfigError(
            "max_length leaves no room for text",
            where="tokenize",
            got=f"max_length {max_length}, of which {num_special} are special tokens",
            expected=f"{num_special + 1} or more",
            fix="set max_length to 64 or more",
        )
    rows: list[_Row] = []
    truncated: list[bool] = []
    for start in range(0, len(texts), BATCH):
        batch = texts.select(range(start, min(start + BATCH, len(texts))))
        encoded = _encode(tokenizer, batch, None)
        # Cut in a second call, and only what is too long: the first one tells how many are.
        too_long = [len(ids) > max_length for ids, _ in encoded]
        long = [i for i, cut in enumerate(too_long) if cut]
        cut = _encode(tokenizer, batch.select(long), max_length)
        for i, row in zip(long, cut, strict=True):
            encoded[i] = row
        rows += encoded
        truncated += too_long
    for text, (ids, _) in zip(texts.texts, rows, strict=True):
        if not ids:
            raise DataError(
                "a text has no tokens",
                where="tokenize",
                got=repr(text[:60]),
                expected="at least one token",
                fix="take the text out, or use a tokenizer that adds special tokens",
            )
    return join_rows(
        [ids for ids, _ in rows],
        texts=texts,
        truncated=truncated,
        token_types=[types for _, types in rows if types is not None],
    )


def join_rows(
    rows: Sequence[Sequence[int]],
    *,
    texts: LabeledTexts,
    truncated: Sequence[bool],
    token_types: Sequence[Sequence[int]] = (),
    learned: Sequence[Sequence[int]] = (),
) -> TokenizedTexts:
    """``rows``, the token ids of every one of ``texts``, end to end.

    ``token_types`` and ``learned`` likewise, where there are any.
    """
    return TokenizedTexts(
        flat=np.fromiter(chain.from_iterable(rows), dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        labels=np.array(texts.labels, dtype=np.int64),
        truncated=np.array(truncated, dtype=bool),
        token_types=_join_small(token_types),
        learned=_join_small(learned),
        references=texts.references,
        groups=texts.groups,
        targets=texts.targets,
    )


def collate(
    tokenized: TokenizedTexts,
    indices: Sequence[int] | np.ndarray,
    *,
    pad_token_id: int | None,
    padding_side: Literal["left", "right"] = "right",
) -> "dict[str, torch.Tensor]":
    """``input_ids``, ``attention_mask`` (b, length) and ``labels`` (b,), all int64.

    ``token_type_ids`` (b, length) as well, where the texts are pairs that have them. Where tokens
    are learned, ``labels`` is (b, length): the token ids there, -100 elsewhere.
    ``length`` is that of the longest text of the batch. The attention mask is 1 on tokens and 0 on
    padding.

    Raises:
        DataError: there is no pad token, or no index.
    """
    import torch  # here, so that counting and previewing data does not load it

    if pad_token_id is None:
        raise DataError(
            "the tokenizer has no pad token",
            where="collate",
            got="pad_token_id None",
            expected="the id of the token that fills up short texts",
            fix="pass a pad_token_id, such as the id of the end-of-text token; the attention "
            "mask hides it",
        )
    if len(indices) == 0:
        raise DataError(
            "a batch has no examples",
            where="collate",
            got="0 indices",
            expected="at least one",
            fix="leave the batch out",
        )
    rows = [slice(*tokenized.offsets[i : i + 2]) for i in _as_ints(indices)]
    length = max(row.stop - row.start for row in rows)
    ids = np.full((len(rows), length), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    types = np.zeros((len(rows), length), dtype=np.int64)
    wanted = np.full((len(rows), length), IGNORED, dtype=np.int64)
    for i, row in enumerate(rows):
        count = row.stop - row.start
        tokens = slice(length - count, length) if padding_side == "left" else slice(count)
        ids[i, tokens] = tokenized.flat[row]
        mask[i, tokens] = 1
        if tokenized.token_types is not None:
            types[i, tokens] = tokenized.token_types[row]
        if tokenized.learned is not None:
            here = tokenized.learned[row] == 1
            wanted[i, tokens] = np.where(here, tokenized.flat[row], IGNORED)
    labels = tokenized.labels[np.asarray(indices)] if tokenized.learned is None else wanted
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
    }
    if tokenized.token_types is not None:
        batch["token_type_ids"] = torch.from_numpy(types)
    return batch


def _encode(tokenizer: Tokenizer, texts: LabeledTexts, limit: int | None) -> list[_Row]:
    """Token ids and, of pairs, token types of every text; uncut where ``limit`` is None."""
    if len(texts) == 0:  # fast tokenizers refuse an empty batch
        return []
    encoded = tokenizer(
        list(texts.texts),
        text_pair=None if texts.pairs is None else list(texts.pairs),
        padding=False,
        truncation=limit is not None,
        max_length=limit,
        return_attention_mask=False,
        return_token_type_ids=False if texts.pairs is None else None,
        verbose=False,
    )
    ids = encoded["input_ids"]
    return list(zip(ids, encoded.get("token_type_ids", [None] * len(ids)), strict=True))


def _join_small(rows: Sequence[Sequence[int]]) -> np.ndarray | None:
    return np.fromiter(chain.from_iterable(rows), dtype=np.int8) if rows else None


def _as_ints(indices: Sequence[int] | np.ndarray) -> Iterator[int]:
    return (int(i) for i in indices)
