"""Runs of tests, stopped where a test wants it."""

from pathlib import Path

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.experiment import Event, StepDone, create_run, open_run, run_experiment


def run(config: RunConfig, path: Path, *, stop_after: int | None = None) -> dict:
    """The run at ``path``, new or taken up, stopped after ``stop_after`` local steps if given."""
    steps: list[Event] = []
    directory = open_run(path) if path.exists() else create_run(path, config, overwrite=False)
    return run_experiment(
        config,
        build_federation(config),
        directory,
        notify=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
        should_stop=lambda: len(steps) == stop_after,
    )
