"""An aggregation, here a defense, that another package adds is chosen by ``server.aggregation``."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.experiment.runs import run

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError
from fedtt.experiment import open_run
from fedtt.federated.aggregate import AGGREGATIONS

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    """The one row, for the duration of a test."""
    with AGGREGATIONS.having("signs", "tests.extending.toy_aggregation:mean_of_signs"):
        yield


def test_the_global_model_moves_as_it_says(make_config: MakeConfig, tmp_path: Path) -> None:
    quick = {"rounds": 1, "evaluation": {"every": 0, "alone": False}}
    config = make_config(**quick, server={"aggregation": "signs"})
    run(config, tmp_path / "run")
    initial = build_federation(config).initial.params
    state = open_run(tmp_path / "run").load_state(expected=p.structure_of(initial))
    moved = torch.cat([(state.params[name] - initial[name]).abs().flatten() for name in initial])
    assert moved.max() <= 0.25 + 1e-6
    assert moved.max() > 0.2  # where the clients agree


def test_an_unknown_one_is_refused_with_the_nearest(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"server\.aggregation: got 'sign'; .*'signs'"):
        make_config(server={"aggregation": "sign"})
    with pytest.raises(ConfigError, match="brings its own aggregation"):
        build_federation(
            make_config(method={"name": "flexlora", "rank": 2}, server={"aggregation": "signs"})
        )
