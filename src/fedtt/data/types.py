"""Labeled texts and the clients that hold them: the values every other data module exchanges."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fedtt.errors import DataError


@dataclass(frozen=True, kw_only=True)
class LabeledTexts:
    """Texts and, at the same positions, their class ids.

    Raises:
        DataError: there are not as many labels as texts.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise DataError(
                "every text needs one label",
                got=f"{len(self.texts)} texts and {len(self.labels)} labels",
                expected="as many labels as texts",
                fix="pass one label for each text, in the order of the texts",
            )

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Iterable[int]) -> "LabeledTexts":
        """The examples at ``indices``, in the order of ``indices``."""
        chosen = tuple(indices)
        return LabeledTexts(
            texts=tuple(self.texts[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
        )


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a source delivers: every client's texts, not yet split.

    ``notes`` are sentences for a human about whatever the source left out or changed.

    Raises:
        DataError: a label is not a position in ``label_names``.
    """

    name: str
    label_names: tuple[str, ...]
    texts_by_client: Mapping[str, LabeledTexts]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for client_id, texts in self.texts_by_client.items():
            _check_labels(texts, self.label_names, where=f"{self.name}, client {client_id!r}")
        # A private copy: a later change to the caller's mapping does not reach a frozen value.
        frozen = MappingProxyType(dict(self.texts_by_client))
        object.__setattr__(self, "texts_by_client", frozen)


@dataclass(frozen=True, kw_only=True)
class ClientData:
    """One client's examples in their three splits."""

    client_id: str
    train: LabeledTexts
    validation: LabeledTexts
    test: LabeledTexts

    def __len__(self) -> int:
        return len(self.train) + len(self.validation) + len(self.test)


@dataclass(frozen=True, kw_only=True)
class FederatedData:
    """All clients, split and ready to train on.

    ``notes`` are sentences for a human about everything that was left out, moved or kept
    together on the way here.

    Raises:
        DataError: two clients share an id, or a label is not a position in ``label_names``.
    """

    name: str
    label_names: tuple[str, ...]
    clients: tuple[ClientData, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for client in self.clients:
            if client.client_id in seen:
                raise DataError(
                    "two clients have the same id",
                    where=self.name,
                    got=repr(client.client_id),
                    expected="a different id for every client",
                    fix="rename one of them, or put their examples together",
                )
            seen.add(client.client_id)
            where = f"{self.name}, client {client.client_id!r}"
            for split in (client.train, client.validation, client.test):
                _check_labels(split, self.label_names, where=where)


def _check_labels(texts: LabeledTexts, label_names: tuple[str, ...], *, where: str) -> None:
    outside = set(texts.labels) - set(range(len(label_names)))
    if outside:
        raise DataError(
            "a label is not one of the classes",
            where=where,
            got=sorted(outside),
            expected=f"class ids from 0 to {len(label_names) - 1} ({', '.join(label_names)})",
            fix="name every class in label_names and number the labels from 0",
        )
