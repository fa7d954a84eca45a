"""One run of a comparison, from wherever it stopped to its end."""

from dataclasses import dataclass
from pathlib import Path

from fedtt.config import Cell, RunConfig, config_differences
from fedtt.config.compare import Point
from fedtt.engine.build import build_federation, resolve_auto
from fedtt.engine.checkpoint import dump_json, write_atomically
from fedtt.errors import ConfigError, DivergenceError, FedttError, InterruptedRunError
from fedtt.experiment.common_steps import ShouldStop
from fedtt.experiment.comparison.cell_results import Status, status_of
from fedtt.experiment.comparison.layout import FAILURE
from fedtt.experiment.directory import create_run, open_run
from fedtt.experiment.events import Notify
from fedtt.experiment.run_in_process import run_experiment
from fedtt.run_place import CONFIG


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run directory and the run that belongs there. ``tuning``: a grid point, not a cell."""

    cell: Cell
    point: Point
    config: RunConfig
    path: Path
    tuning: bool

    @property
    def finished(self) -> bool:
        """Nothing is left to run: it is done, or it diverged, which it would do again."""
        return status_of(self.path) in (Status.DONE, Status.DIVERGED) and not self.differences()

    @property
    def rounds_left(self) -> int:
        """Rounds still to run; all of them if another run lies there."""
        if self.finished:
            return 0
        started = (self.path / CONFIG).is_file() and not self.differences()
        return self.config.rounds - (len(open_run(self.path).rounds()) if started else 0)

    def differences(self) -> list[str]:
        """``key: there -> here`` for every key in which the directory holds another run."""
        if not (self.path / CONFIG).is_file():
            return []
        return config_differences(open_run(self.path).config(), self.config)

    def __str__(self) -> str:
        chosen = "".join(f", {key} = {value}" for key, value in self.point.items())
        return f"tuning {self.cell.method}{chosen}" if self.tuning else str(self.cell)


def check_same(runs: tuple[PlannedRun, ...]) -> None:
    """Raise :class:`ConfigError` with the differences of the first directory with another run."""
    for run in runs:
        differences = run.differences()
        if differences:
            raise ConfigError(
                f"{run}: the directory holds another run:\n"
                + "\n".join(f"  - {line}" for line in differences),
                where=str(run.path),
                fix="--overwrite runs those that differ again and keeps the rest; --out takes "
                "another directory",
            )


def execute(
    run: PlannedRun, *, notify: Notify, should_stop: ShouldStop, tolerate_errors: bool
) -> None:
    """Run what is left of ``run``; divergence is an outcome, recorded beside what it left.

    A directory that holds another run is started afresh. Raises :class:`InterruptedRunError` when
    asked to stop. Any other error of ours is recorded too if ``tolerate_errors``, else raised.
    """
    try:
        begun = (run.path / CONFIG).is_file() and not run.differences()
        given = run.config
        config = open_run(run.path).config() if begun else resolve_auto(given)
        config = config.model_copy(update={"track": given.track})
        federation = build_federation(config)
        (run.path / FAILURE).unlink(missing_ok=True)
        if begun:
            directory = open_run(run.path)
        else:
            # A crash before the first file was complete leaves its unfinished copy.
            for unfinished in run.path.glob(f".{CONFIG}.*.tmp"):
                unfinished.unlink()
            directory = create_run(run.path, config, overwrite=True)
        run_experiment(config, federation, directory, notify=notify, should_stop=should_stop)
    except InterruptedRunError:
        raise
    except DivergenceError as error:
        record_failure(run.path, Status.DIVERGED, str(error))
    except FedttError as error:
        if not tolerate_errors:
            raise
        record_failure(run.path, Status.FAILED, str(error))


def record_failure(path: Path, status: Status, error: str) -> None:
    """Note how the run in ``path`` ended."""
    path.mkdir(parents=True, exist_ok=True)
    write_atomically(path / FAILURE, dump_json({"status": str(status), "error": error}))
