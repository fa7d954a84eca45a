"""What every tracker of ours does alike: each value is logged once, however often a run goes on.

What was logged is kept beside the run, so a tracker goes on with its own run where the last process
stopped, and first catches up with ``rounds.jsonl``: on what that process did not come to, or all of
it where the tracker is new to the run.
"""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fedtt.atomic_write import replace_file
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.events import Evaluated, Event, Notify, RoundDone, RunDone, RunPrepared
from fedtt.experiment.run_files import Count, FileContent, Record
from fedtt.experiment.tracking.logged_values import (
    Values,
    metric_values,
    round_values,
    summary_values,
)
from fedtt.run_place import TRACK

Log = Callable[[Values, int], None]
"""Values by name, and the number of rounds after which they hold."""


class _Note(FileContent):
    """``track/NAME.json``; ``logged``: the last round of every name."""

    id: str
    logged: dict[str, Count]
    rows: Count
    ended: bool


@dataclass(kw_only=True)
class TrackedRun:
    """A run as one tracker has it; changed by what :meth:`following` gives, as it logs.

    ``id`` is the tracker's name for the run, empty where it has none yet; ``rows``: how often
    something was logged; ``ended``: whether the run has its summary; ``rounds``: those done.
    """

    path: Path
    name: str
    id: str = ""
    logged: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    ended: bool = False
    rounds: int = 0
    bytes_sent: int = 0

    @property
    def folder(self) -> Path:
        """Where the tracker writes, unless it is told to write elsewhere."""
        return self.path / TRACK / self.name

    @property
    def is_new(self) -> bool:
        """Whether the tracker has not heard of the run before."""
        return not self.id

    def begin(self, run_id: str = "") -> None:
        """Remember what the tracker calls the run; without ``run_id``, a name made here."""
        self.id = run_id or secrets.token_hex(8)
        self._save()

    def following(self, log: Log) -> Notify:
        """A function of the run's events that logs what there is to log."""

        def follow(event: Event) -> None:
            match event:
                case RunPrepared(next_round=next_round):
                    for record in RunDirectory(path=self.path).rounds()[:next_round]:
                        self._log_round(record, log)
                case RoundDone(record=record):
                    self._log_round(record, log)
                case Evaluated(what="validation", metrics=metrics):  # sites: of the round before
                    self._log(metric_values("validation", metrics), log)
                case RunDone(summary=summary):
                    self._log(summary_values(summary), log)
                    self.ended = True
                    self._save()

        return follow

    def _log_round(self, record: Record, log: Log) -> None:
        self.rounds = record["round"] + 1
        values = round_values(record, bytes_before=self.bytes_sent)
        self.bytes_sent += record["uplink_bytes"] + record["downlink_bytes"]
        self._log(values, log)

    def _log(self, values: Values, log: Log) -> None:
        new = {n: value for n, value in values.items() if self.logged.get(n, -1) < self.rounds}
        if new:
            log(new, self.rounds)
            self.logged |= dict.fromkeys(new, self.rounds)
            self.rows += 1
            self._save()

    def _save(self) -> None:
        note = _Note(id=self.id, logged=self.logged, rows=self.rows, ended=self.ended)
        replace_file(_place_of_note(self.folder), note.model_dump_json().encode())


def open_tracked(path: Path, name: str) -> TrackedRun:
    """The run in ``path`` as the tracker of that name knows it; its folder is there.

    Raises ``OSError``, and ``ValueError`` for a damaged note.
    """
    tracked = TrackedRun(path=path, name=name)
    tracked.folder.mkdir(parents=True, exist_ok=True)
    note = _place_of_note(tracked.folder)
    if note.exists():
        found = _Note.model_validate_json(note.read_bytes())
        tracked.id, tracked.logged = found.id, dict(found.logged)
        tracked.rows, tracked.ended = found.rows, found.ended
    return tracked


def _place_of_note(folder: Path) -> Path:
    return folder.with_suffix(".json")


@contextmanager
def environment_defaults(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that are set during the block, unless they are already."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
