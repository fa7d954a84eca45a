"""The splits of a run as tokens."""

import random
from collections import Counter
from collections.abc import Mapping

import numpy as np

from fedtt.config import RunConfig
from fedtt.data import (
    Held,
    LabeledTexts,
    TokenizedTexts,
    concatenate,
    hold,
    map_large,
    sample_groups,
)
from fedtt.seeds import derive_seed
from fedtt.tasks import Task

TEXTS_AT_ONCE = 8192
MAX_NOTES = 12  # with more clients to tell of, one note for all of them


def tokenize_in_pieces(task: Task, texts: LabeledTexts, *, max_length: int) -> TokenizedTexts:
    """Piece by piece: tokens in lists, as tokenizers give them, take ten times the memory."""
    pieces = [
        task.tokenize(
            texts.select(range(start, min(start + TEXTS_AT_ONCE, len(texts)))),
            max_length=max_length,
        )
        for start in range(0, max(1, len(texts)), TEXTS_AT_ONCE)
    ]
    return map_large(concatenate(pieces) if len(pieces) > 1 else pieces[0])


def fewer_validation_examples(
    validation: Held[LabeledTexts], *, config: RunConfig
) -> Held[LabeledTexts]:
    """The same random part of every client's validation split in every validation of a run."""
    limit = config.evaluation.validation_examples
    if limit is None:
        return validation
    chosen = {}
    for client_id, examples in validation.items():
        stream = random.Random(derive_seed(config.data.split_seed, "validation", client_id))
        count = min(limit, len(examples))
        if examples.groups is None:
            part = stream.sample(range(len(examples)), count)
        else:  # at least one group, however large: a metric of groups needs whole ones
            part = sample_groups(examples.groups, count, stream) or sample_groups(
                examples.groups, len(examples), stream
            )
        chosen[client_id] = examples.select(sorted(part))
    return hold(chosen)


def truncation_notes(splits: Mapping[str, Held[TokenizedTexts]], *, max_length: int) -> list[str]:
    """How many texts of each client were cut."""
    cut: Counter[str] = Counter()
    for held in splits.values():
        parts = held.parts
        before = np.cumsum([0, *held.pool.truncated[parts.order]])
        counts = before[parts.offsets[1:]] - before[parts.offsets[:-1]]
        for index in np.flatnonzero(counts):
            cut[parts.names[index]] += int(counts[index])
    if len(cut) > MAX_NOTES:
        cut = Counter({f"{len(cut):,} clients": cut.total()})
    return [
        f"{client_id}: {count:,} texts are longer than model.max_length = {max_length} tokens "
        "and were cut there."
        for client_id, count in cut.items()
    ]
