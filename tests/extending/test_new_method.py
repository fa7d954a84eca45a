"""A method that another package adds is one like ours: in configurations, runs and messages."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.experiment.runs import run

from fedtt.config import RunConfig, config_differences, dump_config, load_config, parse_method
from fedtt.errors import ConfigError
from fedtt.experiment import evaluate_run, open_run
from fedtt.methods import METHODS

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def row() -> Iterator[None]:
    """The one row, for the duration of a test."""
    with METHODS.having("lora-quiet", "tests.extending.toy_method:LORA_QUIET"):
        yield


def test_a_method_from_outside_trains_resumes_and_evaluates(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    method = {"name": "lora-quiet", "rank": 2}
    config = make_config(rounds=2, method=method, evaluation={"alone": False})
    summary = run(config, tmp_path / "run")
    assert summary["method"] == "lora-quiet"
    sent = [record["uplink_bytes"] for record in open_run(tmp_path / "run").rounds()]
    assert sent[1] < sent[0]  # A rested
    assert evaluate_run(tmp_path / "run", split="test")["accuracy"] == summary["test"]["accuracy"]


def test_its_section_is_read_written_and_compared(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(method={"name": "lora-quiet", "rests": False})
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    other = make_config(method={"name": "lora-quiet"})
    assert config_differences(config, other) == ["method.rests: False -> True"]


def test_what_is_wrong_with_it_is_said_by_its_keys() -> None:
    with pytest.raises(ConfigError, match=r"method\.rank: got 0"):
        parse_method("lora-quiet", overrides=["rank=0"])
    with pytest.raises(ConfigError, match=re.escape("did you mean 'method.rests'?")):
        parse_method("lora-quiet", overrides=["rest=true"])
    with pytest.raises(ConfigError, match="Did you mean 'lora-quiet'"):
        parse_method("lora-quite", overrides=())
    with pytest.raises(ConfigError, match="there is a method of that name"):
        METHODS.register("lora-quiet", "somewhere:else")
