"""What a report keeps of the rounds of a run: sums, and curves that are thinned as they come.

However many rounds there are, it takes the same memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from fedtt.experiment.run_files import Record
from fedtt.metrics import MEAN

MOST_KEPT = 1000  # values of a curve; a chart shows fewer
MOST_NAMED = 5  # of rounds that are named one by one


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The value of a round (from 0); ``sent`` is what all had sent at its end, both ways."""

    index: int
    sent: int
    value: float


class Curve:
    """Values of rounds. Of many it keeps those at the multiples of a power of two, and the last:
    two curves of as many values keep the same, and a shorter one no fewer.
    """

    def __init__(self) -> None:
        self._kept: list[Sample] = []
        self._step, self._count = 1, 0
        self._last: Sample | None = None

    def add(self, sample: Sample) -> None:
        """The next one."""
        if self._count % self._step == 0:
            self._kept.append(sample)
        if len(self._kept) > MOST_KEPT:
            self._kept, self._step = self._kept[::2], 2 * self._step
        self._count, self._last = self._count + 1, sample

    @property
    def last(self) -> Sample | None:
        """The latest value, if there is any."""
        return self._last

    @property
    def samples(self) -> list[Sample]:
        """What is kept, in order."""
        more = [self._last] if self._last is not None and self._kept[-1] is not self._last else []
        return [*self._kept, *more]


@dataclass(kw_only=True)
class RoundLog:
    """The rounds so far; :meth:`add` changes it. ``validation``: metric -> its mean over clients.

    ``missed`` counts rounds in which clients dropped out, ``unused`` those whose updates were not
    used, of which ``unused_rounds`` (from 1) are the first.
    """

    count: int = 0
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    messages: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    missed: int = 0
    unused: int = 0
    unused_rounds: list[int] = field(default_factory=list)
    loss: Curve = field(default_factory=Curve)
    uplink: Curve = field(default_factory=Curve)
    downlink: Curve = field(default_factory=Curve)
    took: Curve = field(default_factory=Curve)
    epsilon: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, Curve] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> Self:
        """The log of these rounds."""
        log = cls()
        for record in records:
            log.add(record)
        return log

    def add(self, record: Record) -> None:
        """The next round."""
        self.count += 1
        self.uplink_bytes += record["uplink_bytes"]
        self.downlink_bytes += record["downlink_bytes"]
        self.messages += len(record["clients"])
        self.seconds += record["seconds"]
        self.slowest = max(self.slowest, record["seconds"])
        self.missed += bool(record["dropped"])
        if record.get("unused"):
            self.unused += 1
            if len(self.unused_rounds) < MOST_NAMED:
                self.unused_rounds.append(record["round"] + 1)
        self._keep(self.loss, record["loss"])
        self._keep(self.uplink, record["uplink_bytes"])
        self._keep(self.downlink, record["downlink_bytes"])
        self._keep(self.took, record["seconds"])
        for kind in ("privacy", "example_privacy"):
            spent = record.get(kind) or {}
            self._keep_named(self.epsilon, kind, spent.get("epsilon"))
        for metric, values in (record["validation"] or {}).items():
            self._keep_named(self.validation, metric, values.get(MEAN))

    def _keep(self, curve: Curve, value: float | None) -> None:
        if value is not None:
            sent = self.uplink_bytes + self.downlink_bytes
            curve.add(Sample(index=self.count - 1, sent=sent, value=value))

    def _keep_named(self, curves: dict[str, Curve], name: str, value: float | None) -> None:
        if value is not None:
            self._keep(curves.setdefault(name, Curve()), value)
