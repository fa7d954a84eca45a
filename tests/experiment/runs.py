"""Runs of tests, stopped where a test wants it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.experiment import Event, RoundDone, StepDone, create_run, open_run, run_experiment


class Killed(Exception):
    """What ends a run in a test."""


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


def run_and_hear(
    config: RunConfig,
    path: Path,
    *,
    stop_after: int | None = None,
    build: Callable[[RunConfig], Federation] = build_federation,
) -> list[Event]:
    """The run at ``path``, new or taken up, killed after a round if one is given; its events."""
    events: list[Event] = []

    def notify(event: Event) -> None:
        events.append(event)
        if isinstance(event, RoundDone) and event.record["round"] + 1 == stop_after:
            raise Killed

    directory = open_run(path) if path.exists() else create_run(path, config, overwrite=False)
    try:
        run_experiment(config, build(config), directory, notify=notify)
    except Killed:
        assert stop_after is not None
    return events


def records(path: Path) -> list[dict[str, Any]]:
    """The lines of the run's ``rounds.jsonl``."""
    return [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
