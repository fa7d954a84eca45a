"""What a federation's data looks like, in numbers a table can show."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from fedtt.data.examples import SHARED, FederatedData, LabeledTexts

BINS = 10


@dataclass(frozen=True, kw_only=True)
class ClientPreview:
    """One client: examples per split, share of every class in [0, 1], median words a text.

    Shares and median are over the client's three splits together; of a pair, over both texts.
    """

    client_id: str
    train: int
    validation: int
    test: int
    label_shares: Mapping[str, float]
    median_words: float


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """How a figure is spread over clients: ``counts[i]`` of them in ``edges[i]`` to ``edges[i+1]``.

    A value on an inner edge counts above it, one on the last edge below it.
    """

    smallest: float
    median: float
    largest: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PopulationPreview:
    """Many clients at once: training examples, and the share of each client's commonest label.

    ``single_class`` clients have training examples of one class only.
    """

    clients: int
    sizes: Distribution
    majority_shares: Distribution
    single_class: int


def describe(data: FederatedData) -> list[ClientPreview]:
    """One row a client, in the order of ``data.client_ids``."""
    return [
        _describe_splits(
            client.client_id,
            {"train": client.train, "validation": client.validation, "test": client.test},
            data.label_names,
        )
        for client in data.clients
    ]


def describe_shared(data: FederatedData) -> ClientPreview | None:
    """The row of the sets that all clients share, called ``all``; None where there are none."""
    return _describe_splits(SHARED, data.shared, data.label_names) if data.shared else None


def summarize_clients(data: FederatedData) -> PopulationPreview:
    """Sizes and label skew of the training examples, over clients. There is at least one."""
    sizes = data.train.parts.sizes.tolist()
    largest = [
        max(Counter(texts.labels).values(), default=0) / max(1, len(texts))
        for texts in data.train.values()
    ]
    return PopulationPreview(
        clients=len(sizes),
        sizes=_distribute(sizes, _whole_edges(min(sizes), max(sizes))),
        majority_shares=_distribute(largest, [i / BINS for i in range(BINS + 1)]),
        single_class=sum(share == 1 for share in largest),
    )


def _whole_edges(smallest: int, largest: int) -> list[float]:
    """Bins of equal width in whole examples, from ``smallest`` to beyond ``largest``."""
    width = -(-(largest - smallest + 1) // BINS)
    count = -(-(largest - smallest + 1) // width)
    return [float(smallest + i * width) for i in range(count + 1)]


def _distribute(values: Sequence[float], edges: Sequence[float]) -> Distribution:
    # A share of 0.3 belongs to the bin that starts at 3 / 10, whatever the last bit of either.
    counts, _ = np.histogram(np.round(values, 9), bins=np.round(edges, 9))
    return Distribution(
        smallest=float(min(values)),
        median=float(median(values)),
        largest=float(max(values)),
        edges=tuple(edges),
        counts=tuple(int(count) for count in counts),
    )


def _describe_splits(
    client_id: str, splits: Mapping[str, LabeledTexts], label_names: tuple[str, ...]
) -> ClientPreview:
    counts = Counter(label for texts in splits.values() for label in texts.labels)
    words = [length for texts in splits.values() for length in _words(texts)]
    total = max(1, counts.total())
    sizes = {split: len(texts) for split, texts in splits.items()}
    return ClientPreview(
        client_id=client_id,
        train=sizes.get("train", 0),
        validation=sizes.get("validation", 0),
        test=sizes.get("test", 0),
        label_shares={name: counts[i] / total for i, name in enumerate(label_names)},
        median_words=float(median(words)) if words else 0.0,
    )


def _words(texts: LabeledTexts) -> list[int]:
    firsts = [len(text.split()) for text in texts.texts]
    if texts.pairs is None:
        return firsts
    return [a + len(pair.split()) for a, pair in zip(firsts, texts.pairs, strict=True)]
