"""A kind of task that another package adds is one like ours: in configurations and runs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.experiment.runs import run
from tests.extending.toy_task import BITS_A_TOKEN

from fedtt.config import RunConfig, dump_config, load_config
from fedtt.errors import ConfigError
from fedtt.experiment import Sampling, evaluate_run, generate_text
from fedtt.task_kinds import TASK_KINDS

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    """The one row, for the duration of a test."""
    with TASK_KINDS.having("bits", BITS_A_TOKEN):
        yield


@pytest.fixture
def config(make_config: MakeConfig, tiny_llama: Path) -> RunConfig:
    return make_config(
        rounds=2,
        model={"name": str(tiny_llama), "max_length": 16, "device": "cpu"},
        task={"kind": "bits"},
        evaluation={"alone": False},
    )


def test_a_task_from_outside_trains_is_measured_and_writes(
    config: RunConfig, make_config: MakeConfig, tmp_path: Path
) -> None:
    summary = run(config, tmp_path / "run")
    assert summary["score"]["name"] == "bits"
    assert evaluate_run(tmp_path / "run", split="test") == summary["test"]
    generate_text(
        tmp_path / "run", "the film", sampling=Sampling(max_new_tokens=2), say=lambda _: None
    )
    plain = config.model_copy(
        update={"task": config.task.model_copy(update={"kind": "language-modeling"})}
    )
    nats = run(plain, tmp_path / "plain")["before"]["loss"]["mean"]  # before training the same
    assert np.isclose(summary["before"]["bits"]["mean"], nats / np.log(2))


def test_its_keys_are_those_of_its_row(config: RunConfig, make_config: MakeConfig, tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    with pytest.raises(ConfigError, match="kind 'bits' has no words"):
        make_config(task={"kind": "bits", "words": ["a"]})
    with pytest.raises(ConfigError, match=r"Did you mean 'bits'\?"):
        make_config(task={"kind": "bit"})
