"""What a secure sum goes with: the table in docs/privacy.md, row by row."""

from pathlib import Path
from typing import Any

import pytest

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build import method_of
from fedtt.engine.build_checks import check_privacy, check_secure_sum
from fedtt.errors import ConfigError
from fedtt.federated.aggregate import AGGREGATIONS
from fedtt.federated.wire.codec import CODECS

CLIENT = {"clipping_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-5}
METHODS = {
    "fedtt": {"name": "fedtt"},
    "fedtt-round": {"name": "fedtt-round"},
    "flexlora": {"name": "flexlora", "rank": 4},
    "fedex-lora": {"name": "fedex-lora", "rank": 4},
}
REFUSED_METHODS = {"fedtt-round", "flexlora", "fedex-lora"}


def checked(
    *,
    codec: str = "plain",
    feedback: bool = False,
    client_privacy: bool = False,
    aggregation: str = "mean",
    method: str = "fedtt",
    clients: int = 10,
    **section: Any,
) -> RunConfig:
    """What a run does with the configuration before anything is loaded."""
    private = {"client": CLIENT} if client_privacy else {}
    config = parse_config(
        {
            "rounds": 1,
            "model": {"name": "minilm"},
            "data": {"path": "/data/my.csv"},
            "method": METHODS[method],
            "server": {"weighting": "uniform", "aggregation": aggregation},
            "wire": {"codec": codec, "error_feedback": feedback},
            "privacy": {**private, "secure_aggregation": section},
        },
        where="test",
    )
    built = method_of(config)
    check_privacy(config, built)
    check_secure_sum(config, built, population=clients)
    return config


def test_what_goes_together_goes() -> None:
    config = checked()
    assert config.privacy.secure_aggregation is not None
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("codec", [name for name in CODECS if CODECS[name].lossy])
@pytest.mark.parametrize("feedback", [False, True])
def test_every_codec_that_loses_anything_is_refused(codec: str, feedback: bool) -> None:
    with pytest.raises(ConfigError, match=f"does not go with wire.codec = '{codec}': a masked"):
        checked(codec=codec, feedback=feedback)


def test_noise_of_the_server_s_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"privacy.client: the server clips .* cannot clip what"):
        checked(client_privacy=True)


@pytest.mark.parametrize("aggregation", [name for name in AGGREGATIONS if name != "mean"])
def test_every_aggregation_that_needs_each_update_is_refused(aggregation: str) -> None:
    assert not AGGREGATIONS[aggregation](0.1).linear
    message = f"the sum of the updates alone, and {aggregation} needs each of them"
    with pytest.raises(ConfigError, match=message):
        checked(aggregation=aggregation)


@pytest.mark.parametrize("method", sorted(REFUSED_METHODS))
def test_every_method_that_makes_more_of_updates_than_their_mean_is_refused(method: str) -> None:
    message = f"the sum of the updates alone, and {method} needs each of them\n.*method.name"
    with pytest.raises(ConfigError, match=message):
        checked(method=method)


@pytest.mark.parametrize(
    ("clients", "section", "message"),
    [
        (2, {}, r"2 clients a round(.|\n)*3 clients \(of a sum of two"),
        (1001, {}, r"1001 clients a round(.|\n)*to 1000 \(everyone makes"),
        (4, {"threshold": 5}, r"too few clients for this threshold(.|\n)*5 of 4(.|\n)*3 to 4"),
        (
            10,
            {"threshold": 6},
            r"with two thirds of the clients(.|\n)*6 of 10(.|\n)*7 to 10(.|\n)*out: 7",
        ),
    ],
)
def test_a_cohort_that_does_not_fit_the_threshold_is_refused(
    clients: int, section: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(clients=clients, **section)


def test_the_docs_have_every_row_of_the_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
    _, _, table = text.partition("## What goes with what")
    table = table.split("\n## ")[0]
    names = [*CODECS, *AGGREGATIONS, *REFUSED_METHODS, "wire.error_feedback", "privacy.client"]
    assert [name for name in names if f"`{name}`" not in table] == []
