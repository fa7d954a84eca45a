"""A schedule that another package adds is chosen by ``method.schedule``."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.experiment.runs import run
from tests.extending.toy_schedule import first_half

from fedtt import params as p
from fedtt.config import RunConfig, dump_config, load_config
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError
from fedtt.experiment import open_run
from fedtt.federated.schedules import SCHEDULES

MakeConfig = Callable[..., RunConfig]
METHOD = {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "halves"}


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    """The one row, for the duration of a test."""
    with SCHEDULES.having("halves", "tests.extending.toy_schedule:first_half"):
        yield


def test_what_it_leaves_out_neither_trains_nor_travels(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(rounds=1, method=METHOD, evaluation={"every": 0, "alone": False})
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    run(config, tmp_path / "run")
    initial = build_federation(config).initial
    state = open_run(tmp_path / "run").load_state(expected=p.structure_of(initial.params))
    chosen = first_half(initial)
    assert chosen < frozenset(initial.params)
    assert set(state.changed_at) == chosen


def test_an_unknown_one_is_refused_with_the_nearest(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"method\.schedule: got 'halvs'; .*'halves'"):
        make_config(method={**METHOD, "schedule": "halvs"})
