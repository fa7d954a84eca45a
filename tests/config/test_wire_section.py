"""What of ``[wire]`` goes together, and with what else."""

from typing import Any

import pytest

from fedtt.config import RunConfig, parse_config
from fedtt.errors import ConfigError
from fedtt.federated.aggregate import AGGREGATIONS, MEAN


def parsed(wire: dict[str, Any], **others: Any) -> RunConfig:
    table = {
        "rounds": 1,
        "model": {"name": "minilm"},
        "data": {"path": "/data/my.csv"},
        "method": {"name": "fedtt"},
        "wire": wire,
        **others,
    }
    return parse_config(table, where="test")


@pytest.mark.parametrize("codec", ["int2", "sign"])
@pytest.mark.parametrize("aggregation", [name for name in AGGREGATIONS if name != MEAN])
def test_few_levels_do_not_go_with_an_aggregation_of_the_middle(
    codec: str, aggregation: str
) -> None:
    with pytest.raises(ConfigError, match=f"{codec}' does not go with(.|\n)*{aggregation}"):
        parsed({"codec": codec}, server={"aggregation": aggregation})
    parsed({"codec": codec})
    parsed({"codec": "int4"}, server={"aggregation": aggregation})


@pytest.mark.parametrize("codec", ["int2", "sign"])
def test_few_levels_are_not_rounded_to_the_nearest(codec: str) -> None:
    with pytest.raises(ConfigError, match="loses the same part of every update"):
        parsed({"codec": codec, "rounding": "nearest"})
    with pytest.raises(ConfigError, match="more noise than there is update"):
        parsed({"codec": codec, "rounding": "stochastic", "error_feedback": True})
    assert parsed({"codec": codec}).wire.is_stochastic
    assert not parsed({"codec": codec, "error_feedback": True}).wire.is_stochastic
    assert not parsed({"codec": "int4", "rounding": "nearest"}).wire.is_stochastic


@pytest.mark.parametrize("block", [0, 65_537, 1.5, "many"])
def test_a_block_has_a_plausible_size(block: Any) -> None:
    with pytest.raises(ConfigError, match=r"wire\.block"):
        parsed({"codec": "int4", "block": block})


def test_feedback_is_of_what_is_lost_and_of_clients_that_come_again() -> None:
    with pytest.raises(ConfigError, match="loses nothing that error_feedback could send"):
        parsed({"error_feedback": True})
    with pytest.raises(ConfigError, match=r"error_feedback is for silos(.|\n)*cohort\.size"):
        parsed({"codec": "int4", "error_feedback": True}, cohort={"size": 2})
    method = {"name": "fedtt", "subspace": {"size": 100}}
    with pytest.raises(ConfigError, match=r"does not go with method\.subspace"):
        parsed({"codec": "int4", "error_feedback": True}, method=method)
