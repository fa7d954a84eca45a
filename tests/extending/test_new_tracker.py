"""A tracker that another package adds hears of every run that names it, and can end none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError
from fedtt.experiment import (
    Event,
    RoundDone,
    TrackerLost,
    check_same_config,
    create_run,
    run_experiment,
)
from fedtt.trackers import TRACKERS

MakeConfig = Callable[..., RunConfig]
QUICK = {
    "rounds": 2,
    "client": {"steps": 1, "batch_size": 4},
    "evaluation": {"alone": False, "before": False, "every": 0},
}


def run(config: RunConfig, path: Path) -> list[Event]:
    events: list[Event] = []
    directory = create_run(path, config, overwrite=False)
    run_experiment(config, build_federation(config), directory, notify=events.append)
    return events


def test_a_tracker_from_outside_hears_of_the_run(make_config: MakeConfig, tmp_path: Path) -> None:
    with TRACKERS.having("losses", "tests.extending.toy_tracker:loss_table"):
        config = make_config(**QUICK, track={"to": ["losses"]})
        events = run(config, tmp_path / "run")
    lines = (tmp_path / "run" / "losses.txt").read_text().splitlines()
    losses = [f"{e.record['round']} {e.record['loss']}" for e in events if isinstance(e, RoundDone)]
    assert lines == ["fedtt", *losses, "accuracy", "closed"]
    # Who follows a run is no part of it: it is resumed with another tracker or none.
    check_same_config(config, make_config(**QUICK), where=tmp_path)


def test_an_unknown_tracker_is_refused_with_the_configuration(make_config: MakeConfig) -> None:
    with (
        TRACKERS.having("losses", "tests.extending.toy_tracker:loss_table"),
        pytest.raises(ConfigError, match=r"track\.to\.0: got 'loses'; .*Did you mean 'losses'"),
    ):
        make_config(**QUICK, track={"to": ["loses"]})


@pytest.mark.parametrize("when", ["opening", "following", "closing"])
def test_a_tracker_that_fails_ends_no_run(
    make_config: MakeConfig, tmp_path: Path, when: str
) -> None:
    heard: list[Event] = []

    @contextmanager
    def broken(directory: Path, config: dict[str, Any]) -> Iterator[Callable[[Event], None]]:
        def follow(event: Event) -> None:
            heard.append(event)
            if when == "following" and isinstance(event, RoundDone):
                raise ConnectionError("no route")

        if when == "opening":
            raise ConnectionError("no route")
        yield follow
        if when == "closing":
            raise ConnectionError("no route")

    with TRACKERS.having("broken", broken):
        events = run(make_config(**QUICK, track={"to": ["broken"]}), tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").exists()
    (lost,) = [event for event in events if isinstance(event, TrackerLost)]
    assert (lost.name, lost.error) == ("broken", "ConnectionError: no route")
    rounds = sum(isinstance(event, RoundDone) for event in heard)
    assert rounds == {"opening": 0, "following": 1, "closing": 2}[when]
