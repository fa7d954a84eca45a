"""A run as its files say it is now, for as long as it is followed."""

from dataclasses import dataclass
from pathlib import Path

from fedtt.errors import FedttError, RunError
from fedtt.experiment.comparison.read_comparison import is_comparison
from fedtt.experiment.round_tail import RoundTail
from fedtt.experiment.run_rows import run_state
from fedtt.report.blocks import Page
from fedtt.report.pages import page_of_views
from fedtt.report.round_log import RoundLog
from fedtt.report.run_view import view_run
from fedtt.run_place import CONFIG, LOCK, ROUNDS, STATE, check_run, is_run

FILES = (CONFIG, STATE, ROUNDS, "data.json", "baselines.json", "summary.json")
WORDS = {
    "waiting": "Waiting: there is no run here yet.",
    "running": "Live: the run goes on, and this page with it.",
    "stopped": "The run has stopped. This page goes on once somebody resumes it.",
    "finished": "The run has ended.",
}


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What was seen of a run. ``problem`` is why ``page`` is older than the run, if it is."""

    state: str
    page: Page
    rounds: int
    problem: str = ""

    @property
    def words(self) -> str:
        """The state in a sentence, or what is in the way."""
        return self.problem or WORDS[self.state]


def check_watchable(path: Path) -> None:
    """Raise :class:`RunError` unless a run lies at ``path``, or one can still come there."""
    if is_comparison(path):
        raise RunError(
            "a comparison, which is no single run",
            where=str(path),
            fix=f"watch one of its runs; fedtt report {path} shows them all, as far as they are",
        )
    try:
        comes = not path.exists() or all(entry.name == LOCK for entry in path.iterdir())
    except OSError as error:  # a file, or a directory that is closed
        comes = path.is_dir() and is_run(path)
        if not comes:
            raise RunError("no run here", where=str(path), got=error) from error
    if not comes:
        check_run(path)


class FollowedRun:
    """A run and how far its rounds were read; what :meth:`look` moves on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tail, self._log = RoundTail(path), RoundLog()
        self._seen: object = None

    def look(self) -> Sight | None:
        """What there is to see, None where it is what was seen before.

        Raises :class:`FedttError` for what cannot be read, and looks again the next time.
        """
        now = self._traits()
        if now == self._seen:
            return None
        self._seen = None
        sight = self._view()
        self._seen = now
        return sight

    def state(self) -> str:
        """One of ``WORDS``."""
        if not is_run(self._path):
            return "waiting"
        return run_state(self._path, ended=(self._path / "summary.json").exists())

    def _traits(self) -> object:
        """What changes with every file that is written; read before them, so that none is missed.

        The operating system's lock, which says whether the run goes on, is no change of a file.
        """
        return self.state(), tuple(_trait(self._path / name) for name in FILES)

    def _view(self) -> Sight:
        if self._tail.is_stale():
            self._tail.close()
            self._tail, self._log = RoundTail(self._path), RoundLog()
        if not is_run(self._path):
            return Sight(state="waiting", page=waiting_page(self._path), rounds=0)
        for record in self._tail.read():
            self._log.add(record)
        return Sight(
            state=self.state(),
            page=page_of_views([view_run(self._path, rounds=self._log)]),
            rounds=self._log.count,
        )

    def close(self) -> None:
        """Let go of the run's files."""
        self._tail.close()


def waiting_page(path: Path) -> Page:
    """The page of a run that is not there."""
    return Page(
        title=path.resolve().name,
        subtitle="no run yet",
        answer=(f"There is no run at {path} yet. It is shown here once it begins.",),
        sections=(),
    )


def troubled(error: FedttError) -> str:
    """One line that says what is in the way."""
    reason = " ".join(str(error).split())
    return f"What is shown may be old: the run cannot be read at present ({reason})."


def _trait(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns
