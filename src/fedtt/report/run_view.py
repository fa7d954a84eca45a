"""What a report shows of one run, read from its directory; nothing is measured again."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedtt.config.overrides import flatten
from fedtt.config.parse import read_table
from fedtt.experiment import open_run
from fedtt.experiment.round_tail import read_rounds
from fedtt.metrics import ACCURACY, MEAN, Score
from fedtt.report.round_log import RoundLog
from fedtt.run_place import CONFIG

Scores = dict[str, float]  # client -> value


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run as far as it has come. ``settings``: dotted key -> value; ``counts``: client -> split
    -> examples.
    """

    path: Path
    settings: dict[str, Any]
    rounds: RoundLog
    summary: dict[str, Any] | None
    baselines: dict[str, Any]
    data: dict[str, Any]
    state_notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.path.resolve().name

    @property
    def seed(self) -> int:
        """The root of its random streams."""
        return int(self.settings.get("seed", 0))

    @property
    def planned_rounds(self) -> int:
        """As the configuration says."""
        return int(self.settings["rounds"])

    @cached_property
    def score(self) -> Score:
        """What the run is judged by; where an old one did not keep it, its first metric."""
        kept = (self.summary or {}).get("score") or self.data.get("score")
        if kept is not None:
            return Score(name=kept["name"], higher_is_better=kept["higher_is_better"])
        if self.summary is not None:
            return ACCURACY
        if not self.rounds.validation:
            return ACCURACY
        return Score(name=next(iter(self.rounds.validation)), higher_is_better=True)

    @property
    def is_private(self) -> bool:
        """Whether anything of the data is guaranteed: by noise, or by secure sums."""
        return self.is_noisy or self._has("privacy.secure_aggregation")

    @property
    def is_noisy(self) -> bool:
        """Whether there is differential privacy, of clients or of examples."""
        return self._has("privacy.client") or self._has("privacy.example")

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Client -> split -> how many examples."""
        found: dict[str, dict[str, int]] = self.data.get("clients", {})
        return found

    def measured(self, what: str) -> Scores | None:
        """The run's score on the test split ``before``, ``alone`` or after (``test``) training."""
        table = self._tables(what)
        values = (table or {}).get(self.score.name)
        return None if values is None else {k: v for k, v in values.items() if k != MEAN}

    def mean(self, what: str) -> float | None:
        """The mean over clients of :meth:`measured`."""
        values = self.measured(what)
        return None if not values else sum(values.values()) / len(values)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, cut or kept together, and what is to be said of the state."""
        of_run = (self.summary or self.data).get("notes", ())
        left_out = (self.summary or {}).get("left_out", {})
        return (
            *of_run,
            *(f"left out: {client}: {reason}" for client, reason in left_out.items()),
            *self.state_notes,
        )

    def _has(self, section: str) -> bool:
        return any(key == section or key.startswith(f"{section}.") for key in self.settings)

    def _tables(self, what: str) -> dict[str, Any] | None:
        if self.summary is not None:
            tables: dict[str, Any] | None = self.summary.get(what)
            return tables
        if what == "before":
            return self.baselines.get("before")
        return None  # those of the clients alone are a part of them until the last is done


def view_run(path: Path, *, rounds: RoundLog | None = None) -> RunView:
    """The run in a directory; ``rounds`` are those that were read before.

    Raises :class:`RunError` for none, or a damaged one.
    """
    directory = open_run(path)
    directory.config()  # raises for what is no configuration
    return RunView(
        path=path,
        settings=flatten(read_table(path / CONFIG)),
        rounds=RoundLog.of(read_rounds(path)) if rounds is None else rounds,
        summary=directory.summary(),
        baselines=directory.baselines(),
        data=directory.data() or {},
        state_notes=directory.notes(),
    )
