"""What a federation's data looks like, in numbers a table can show."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from fedtt.data.types import ClientData, FederatedData


@dataclass(frozen=True, kw_only=True)
class ClientPreview:
    """One client: examples per split, share of every class in [0, 1], median words a text.

    Shares and median are over the client's three splits together.
    """

    client_id: str
    train: int
    validation: int
    test: int
    label_shares: Mapping[str, float]
    median_words: float


def describe(data: FederatedData) -> list[ClientPreview]:
    """One row a client, in the order of ``data.clients``."""
    return [_describe_client(client, data.label_names) for client in data.clients]


def _describe_client(client: ClientData, label_names: tuple[str, ...]) -> ClientPreview:
    splits = (client.train, client.validation, client.test)
    labels = [label for split in splits for label in split.labels]
    words = [len(text.split()) for split in splits for text in split.texts]
    total = max(1, len(labels))
    return ClientPreview(
        client_id=client.client_id,
        train=len(client.train),
        validation=len(client.validation),
        test=len(client.test),
        label_shares={name: labels.count(i) / total for i, name in enumerate(label_names)},
        median_words=float(median(words)) if words else 0.0,
    )
