"""Examples and batches of several clients, put together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fedtt.data.examples import join_columns
from fedtt.data.tokens import IGNORED, TokenizedTexts
from fedtt.errors import DataError

if TYPE_CHECKING:
    import torch


def stack_batches(
    batches: "Sequence[Mapping[str, torch.Tensor]]", *, pad_token_id: int
) -> "dict[str, torch.Tensor]":
    """One batch of several, ``(n * b, length)``, the rows of each contiguous.

    All get the length of the longest, padded on the right, and the number of rows ``b`` of the
    largest: a smaller one is filled up with copies of its own first row, for others to ignore.

    Raises:
        DataError: batches that do not hold the same inputs.
    """
    import torch

    keys = list(batches[0])
    if any(list(batch) != keys for batch in batches):
        raise DataError(
            "batches of different inputs cannot be stacked",
            where="stack_batches",
            got=" and ".join(sorted({", ".join(batch) for batch in batches})),
            expected="the same inputs in all of them",
            fix="tokenize all texts as pairs, or none",
        )
    rows = max(len(batch["labels"]) for batch in batches)
    length = max(batch["input_ids"].shape[1] for batch in batches)
    fill = {"input_ids": pad_token_id, "labels": IGNORED}
    stacked = {}
    for key in keys:
        parts = []
        for batch in batches:
            part = batch[key]
            if part.ndim == 2 and part.shape[1] < length:
                missing = (0, length - part.shape[1])
                part = torch.nn.functional.pad(part, missing, value=fill.get(key, 0))
            parts += [part, *([part[:1]] * (rows - len(part)))]
        stacked[key] = torch.cat(parts)
    return stacked


def concatenate(texts: Sequence[TokenizedTexts]) -> TokenizedTexts:
    """The examples of all of them, in their order.

    Raises:
        DataError: some have token types and others none.
    """
    texts = [one for one in texts if len(one)] or texts[:1]  # an empty one has no types either way
    typed = [one.token_types for one in texts if one.token_types is not None]
    if typed and len(typed) < len(texts):
        raise DataError(
            "single texts and pairs cannot be put together",
            where="concatenate",
            got=f"token types in {len(typed)} of {len(texts)}",
            expected="in all of them, or in none",
        )
    lengths = np.concatenate([one.lengths for one in texts])
    return TokenizedTexts(
        flat=np.concatenate([one.flat for one in texts]),
        offsets=np.cumsum([0, *lengths], dtype=np.int64),
        labels=np.concatenate([one.labels for one in texts]),
        truncated=np.concatenate([one.truncated for one in texts]),
        token_types=np.concatenate(typed) if typed else None,
        learned=_join_arrays([one.learned for one in texts]),
        references=join_columns([one.references for one in texts]),
        groups=join_columns([one.groups for one in texts]),
        targets=join_columns([one.targets for one in texts]),
    )


def _join_arrays(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [column for column in columns if column is not None]
    return np.concatenate(known) if known else None
