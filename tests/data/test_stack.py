"""Batches and examples of several clients, put together."""

import numpy as np
import pytest
import torch

from fedtt.data import TokenizedTexts, collate, concatenate, stack_batches
from fedtt.errors import DataError


def texts(rows: list[list[int]], *, typed: bool = False) -> TokenizedTexts:
    flat = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenizedTexts(
        flat=flat,
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        labels=np.arange(len(rows)),
        truncated=np.ones(len(rows), dtype=bool),
        token_types=np.ones(len(flat), dtype=np.int8) if typed and rows else None,
    )


def test_batches_are_padded_to_the_longest_and_filled_up_to_the_largest() -> None:
    long = collate(texts([[5] * 11]), [0], pad_token_id=1)
    short = collate(texts([[7], [8, 8]]), [1, 0], pad_token_id=1)
    stacked = stack_batches([long, short], pad_token_id=1)
    ids = stacked["input_ids"].tolist()
    assert ids[:2] == [[5] * 11] * 2
    assert ids[2:] == [[8, 8] + [1] * 9, [7] + [1] * 10]
    assert stacked["attention_mask"].sum(dim=1).tolist() == [11, 11, 2, 1]
    assert stacked["labels"].tolist() == [0, 0, 1, 0]
    assert stacked["labels"].dtype == torch.int64


def test_types_of_padding_are_zero() -> None:
    batches = [collate(texts([[5] * n], typed=True), [0], pad_token_id=1) for n in (3, 9)]
    assert stack_batches(batches, pad_token_id=1)["token_type_ids"].sum(dim=1).tolist() == [3, 9]


def test_pairs_and_single_texts_cannot_be_put_together() -> None:
    pair, single = (collate(texts([[5]], typed=t), [0], pad_token_id=1) for t in (True, False))
    with pytest.raises(DataError, match="batches of different inputs cannot be stacked"):
        stack_batches([pair, single], pad_token_id=1)
    with pytest.raises(DataError, match="got: token types in 1 of 2"):
        concatenate([texts([[5]], typed=True), texts([[5]])])


def test_concatenated_texts_are_those_of_each_in_turn() -> None:
    parts = [texts([[1, 2], [3]], typed=True), texts([]), texts([[4, 5, 6]], typed=True)]
    whole = concatenate(parts)
    rows = [whole.input_ids(i).tolist() for i in range(len(whole))]
    assert rows == [[1, 2], [3], [4, 5, 6]]
    assert whole.labels.tolist() == [0, 1, 0]
    assert whole.num_truncated == 3
    assert whole.token_types is not None
    assert len(whole.token_types) == 6
    assert len(concatenate([texts([]), texts([])])) == 0
