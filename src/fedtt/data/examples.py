"""Labeled texts and the clients that hold them: the values every other data module exchanges."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

from fedtt.data.holdings import Held, Parts
from fedtt.errors import DataError

SPLITS = ("train", "validation", "test")
SHARED = "all"  # who holds an evaluation set that belongs to no client
# Where there are no classes every example is of the one there is, and no check of classes applies.
ONE_CLASS = ("text",)

T = TypeVar("T")


def is_unicode(text: str) -> bool:
    """Whether any file or tokenizer can hold it: no half of a surrogate pair (``U+D800``)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class LabeledTexts:
    """Texts and, at the same positions, their class ids.

    ``pairs`` are the second texts where an example is two texts (a premise and a hypothesis), or
    the completions of prompts; ``references`` then are the answers that count as right, one or
    more to an example, where answers are scored. ``groups`` name what is judged together: all
    candidate answers of one question. ``targets`` are what a class id cannot say: of a regression
    the number to predict (``labels`` then are bins of it, for partitions by label), of a candidate
    answer how much of the right one it has.

    Raises:
        DataError: there are not as many labels, second texts, references, groups or targets as
            texts.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    pairs: tuple[str, ...] | None = None
    references: tuple[tuple[str, ...], ...] | None = None
    groups: tuple[str, ...] | None = None
    targets: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.labels):
            raise DataError(
                "every text needs one label",
                got=f"{len(self.texts)} texts and {len(self.labels)} labels",
                expected="as many labels as texts",
                fix="pass one label for each text, in the order of the texts",
            )
        if self.pairs is not None and len(self.pairs) != len(self.texts):
            raise DataError(
                "every text needs a second one",
                got=f"{len(self.texts)} texts and {len(self.pairs)} second texts",
                expected="as many second texts as texts",
                fix="pass one second text for each text, or pairs=None",
            )
        for name, values in (
            ("references", self.references),
            ("groups", self.groups),
            ("targets", self.targets),
        ):
            if values is not None and len(values) != len(self.texts):
                raise DataError(
                    f"there are not as many {name} as texts",
                    got=f"{len(self.texts)} texts and {len(values)} {name}",
                    expected=f"as many {name} as texts",
                    fix=f"pass one for each text, or {name}=None",
                )

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Iterable[int]) -> "LabeledTexts":
        """The examples at ``indices``, in the order of ``indices``."""
        chosen = tuple(indices)
        return LabeledTexts(
            texts=tuple(self.texts[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
            pairs=select_column(self.pairs, chosen),
            references=select_column(self.references, chosen),
            groups=select_column(self.groups, chosen),
            targets=select_column(self.targets, chosen),
        )


NOTHING = LabeledTexts(texts=(), labels=())


def select_column(column: Sequence[T] | None, indices: Iterable[int]) -> tuple[T, ...] | None:
    """An optional column at ``indices``, in their order."""
    return None if column is None else tuple(column[i] for i in indices)


def join_columns(columns: Iterable[Sequence[T] | None]) -> tuple[T, ...] | None:
    """An optional column of several, end to end: a source gives it to all of them or to none."""
    known = [column for column in columns if column is not None]
    return tuple(chain.from_iterable(known)) if known else None


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a source delivers: every client's texts, not yet split.

    ``shared_test`` is a test set of its own, which all clients share, where the source has one.
    ``notes`` are sentences for a human about whatever the source left out or changed.
    ``label_cells`` are the integers that a file of the user's writes for the classes, if it does.

    Raises:
        DataError: a label is not a position in ``label_names``.
    """

    name: str
    label_names: tuple[str, ...]
    texts_by_client: Mapping[str, LabeledTexts]
    notes: tuple[str, ...] = ()
    shared_test: LabeledTexts | None = None
    label_cells: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.shared_test is not None:
            _check_labels(self.shared_test, self.label_names, where=f"{self.name}, test set")
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

    ``train`` names every client. ``validation`` and ``test`` are the clients' own, or, under the
    one name ``all``, held by no client and shared: then the global model is evaluated on them.

    ``notes`` are sentences for a human about everything that was left out, moved or kept
    together on the way here. ``label_cells`` as in :class:`RawData`.

    Raises:
        DataError: a label is not a position in ``label_names``.
    """

    name: str
    label_names: tuple[str, ...]
    train: Held[LabeledTexts]
    validation: Held[LabeledTexts]
    test: Held[LabeledTexts]
    notes: tuple[str, ...] = ()
    label_cells: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for split in SPLITS:
            where = f"{self.name}, {split}"
            _check_labels(self.holders(split).pool, self.label_names, where=where)

    @property
    def client_ids(self) -> tuple[str, ...]:
        """Every client's id, in order."""
        return self.train.parts.names

    @property
    def shared(self) -> dict[str, LabeledTexts]:
        """Split -> the set that all clients share, for the splits that have one."""
        sets = {"validation": self.validation, "test": self.test}
        return {split: held.pool for split, held in sets.items() if _is_shared(held, self.train)}

    @property
    def clients(self) -> tuple[ClientData, ...]:
        """Every client's examples, copied; nothing in a split that is shared."""
        return tuple(
            ClientData(
                client_id=client_id,
                **{split: self.holders(split).get(client_id, NOTHING) for split in SPLITS},
            )
            for client_id in self.client_ids
        )

    def holders(self, split: str) -> Held[LabeledTexts]:
        """The examples of ``train``, ``validation`` or ``test``, by who holds them."""
        held: Held[LabeledTexts] = getattr(self, split)
        return held


def federate(
    clients: Sequence[ClientData],
    *,
    name: str,
    label_names: tuple[str, ...],
    notes: tuple[str, ...] = (),
    shared_test: LabeledTexts | None = None,
) -> FederatedData:
    """Those clients' data; with ``shared_test`` that is the test set of all, and none has its own.

    Raises:
        DataError: two clients have the same id, a client is called ``all`` or has a test set of
            its own beside the shared one, or a label is not a position in ``label_names``.
    """
    seen: set[str] = set()
    for client in clients:
        where = f"{name}, client {client.client_id!r}"
        if client.client_id in seen:
            raise DataError(
                "two clients have the same id",
                where=where,
                expected="a different id for every client",
                fix="rename one of them, or put their examples together",
            )
        seen.add(client.client_id)
        if shared_test is not None and len(client.test):
            raise DataError(
                "a client has a test set of its own beside the shared one",
                where=where,
                got=f"{len(client.test)} examples",
                expected="none",
                fix="put them into the shared set",
            )
    by_split = {
        split: hold({client.client_id: getattr(client, split) for client in clients})
        for split in SPLITS
    }
    if shared_test is not None:
        by_split["test"] = share(shared_test, beside=by_split["train"].parts)
    return FederatedData(
        name=name,
        label_names=label_names,
        notes=notes,
        train=by_split["train"],
        validation=by_split["validation"],
        test=by_split["test"],
    )


def hold(texts: Mapping[str, LabeledTexts]) -> Held[LabeledTexts]:
    """Those clients' texts."""
    parts = Parts.in_turn({client_id: len(own) for client_id, own in texts.items()})
    return Held(join_texts(texts.values()), parts)


def share(texts: LabeledTexts, *, beside: Parts) -> Held[LabeledTexts]:
    """A set that belongs to no client. Raises :class:`DataError` for a client called ``all``."""
    if SHARED in beside:
        raise DataError(
            "a client has the name of the shared sets",
            where=f"client {SHARED!r}",
            expected=f"any name but {SHARED!r}",
            fix="rename the client",
        )
    return hold({SHARED: texts})


def join_texts(texts: Iterable[LabeledTexts]) -> LabeledTexts:
    """All of them end to end."""
    held = [one for one in texts if len(one)]  # an empty one may lack what the others have
    return LabeledTexts(
        texts=tuple(chain.from_iterable(one.texts for one in held)),
        labels=tuple(chain.from_iterable(one.labels for one in held)),
        pairs=join_columns(one.pairs for one in held),
        references=join_columns(one.references for one in held),
        groups=join_columns(one.groups for one in held),
        targets=join_columns(one.targets for one in held),
    )


def _is_shared(held: Held[LabeledTexts], train: Held[LabeledTexts]) -> bool:
    return held.parts.names == (SHARED,) != train.parts.names


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
