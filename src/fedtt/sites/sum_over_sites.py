"""The server's end of a secure sum over sites: four questions, and whoever is silent has left."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fedtt.errors import SitesError, WireError
from fedtt.federated.round import ClientTask
from fedtt.federated.secure import sum_messages as wire
from fedtt.federated.secure.secure_round import DISPUTED, Stage, Summed, SumRequest
from fedtt.federated.secure.sum_server import (
    Gathering,
    Opened,
    begin_gathering,
    open_sum,
    unsound_keys,
)
from fedtt.federated.secure.sum_terms import Place
from fedtt.sites.message_schema import SumStageName


@dataclass(frozen=True, kw_only=True)
class Said:
    """The blob of each client that answered, and what was wrong with what others did."""

    blobs: Mapping[str, bytes]
    failed: Mapping[str, str]


# (stage, clients, blobs for all)
AskStage = Callable[[SumStageName, Sequence[ClientTask], Sequence[bytes]], Said]
# (clients, what is sealed for each); they answer with masked updates
AskTraining = Callable[[Sequence[ClientTask], Mapping[str, bytes]], Said]
T = TypeVar("T")
Refuse = Callable[[str, WireError], None]


@dataclass
class SumOverSites:
    """One sum. ``refuse`` is told of a client whose message is not what it should be, which then
    has left; ``fewest`` clients must stay.
    """

    request: SumRequest
    called: Sequence[ClientTask]
    fewest: int
    refuse: Refuse
    up: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    left: dict[str, Stage] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __call__(self, ask: AskStage, train: AskTraining) -> Summed:
        """Raises :class:`SitesError` where too few stay: nothing has changed then."""
        gathering = self._gathered(ask)
        names = self._names(gathering.dealt)
        sealed = {n: wire.pack_sealed(gathering.sealed_for(self._place(n))) for n in names}
        tasks = self._tasks(names)
        for task in tasks:
            self.down[task.client_id] += len(task.payload) + len(sealed[task.client_id])
        masked = self._read(
            "masked update",
            names,
            train(tasks, sealed),
            lambda _, blob: wire.unpack_masked(blob, self.request.encoding),
        )
        self._check_enough(masked)
        for place, words in masked.items():
            gathering = gathering.include(place, words)
        gathering = gathering.ask()
        told = wire.pack_places(gathering.arrived)
        arrived = self._names(gathering.arrived)
        self._tell(arrived, told)
        revealed = self._read(
            "unmasking",
            arrived,
            ask("reveal", self._tasks(arrived), [told]),
            lambda _, blob: wire.unpack_revealed(blob, dealt=gathering.dealt),
        )
        # Too few now lose the round: those who spoke have written down that they did.
        opened = Opened(total=None, missing=self.request.terms.lacks(revealed))
        if opened.missing is None:
            opened = open_sum(gathering, revealed)
        for place, reason in opened.faults.items():
            self.refuse(self._names([place])[0], WireError(reason))
        faults = {self._names([place])[0]: reason for place, reason in opened.faults.items()}
        return Summed(
            total=opened.total,
            uplink={name: self.up[name] for name in arrived},
            downlink={name: self.down[name] for name in self.request.cohort},
            missing=opened.missing,
            left=self.left,
            failed={**self.failed, **faults},
            disputed=dict.fromkeys(self._names(opened.disputed), DISPUTED),
        )

    def _gathered(self, ask: AskStage) -> Gathering:
        keys = self._read(
            "keys",
            [task.client_id for task in self.called],
            ask("keys", self.called, []),
            lambda _, blob: wire.unpack_keys(blob),
        )
        for place, error in unsound_keys(keys).items():
            self._lose(self._names([place])[0], "keys", error)
            del keys[place]
        self._check_enough(keys)
        told = wire.pack_roster(keys)
        names = self._names(keys)
        self._tell(names, told)
        dealt = self._read(
            "shares",
            names,
            ask("shares", self._tasks(names), [told]),
            lambda place, blob: wire.unpack_dealt(blob, others=set(keys) - {place}),
        )
        self._check_enough(dealt)
        return begin_gathering(self.request.terms, keys, dealt, words=self.request.encoding.words)

    def _read(
        self,
        stage: Stage,
        names: Collection[str],
        said: Said,
        read: Callable[[Place, bytes], T],
    ) -> dict[Place, T]:
        """What those who were asked say, without those who left at this stage."""
        found = {}
        self.left |= {name: stage for name in names if name not in said.blobs}
        self.failed |= said.failed
        for name, blob in said.blobs.items():
            self.up[name] += len(blob)
            try:
                found[self._place(name)] = read(self._place(name), blob)
            except WireError as error:
                self._lose(name, stage, error)
        return found

    def _lose(self, name: str, stage: Stage, error: WireError) -> None:
        self.left[name], self.failed[name] = stage, error.summary
        self.refuse(name, error)

    def _tell(self, names: Collection[str], blob: bytes) -> None:
        for name in names:
            self.down[name] += len(blob)

    def _check_enough(self, present: Collection[Place]) -> None:
        needed = max(self.fewest, self.request.terms.threshold)
        if len(present) < needed:
            raise SitesError(
                "too few clients answered",
                where=f"round {self.called[0].round_index}",
                got=f"{len(present)} of {len(self.request.cohort)}",
                expected=f"{needed} (sites.min_replies, privacy.secure_aggregation.threshold)",
            )

    def _place(self, name: str) -> Place:
        return self.request.cohort.index(name) + 1

    def _names(self, places: Collection[Place]) -> list[str]:
        return [self.request.cohort[place - 1] for place in sorted(places)]

    def _tasks(self, names: Collection[str]) -> list[ClientTask]:
        return [task for task in self.called if task.client_id in names]
