"""What of ``[privacy]`` goes together, and with what else; without the packages of its extra."""

import subprocess
import sys
from typing import Any

import pytest

from fedtt.config import RunConfig, parse_config
from fedtt.errors import ConfigError

CLIENT = {"clipping_norm": 0.5, "noise_multiplier": 1.0, "delta": 1e-5}
UNIFORM = {"weighting": "uniform"}


def parsed(client: dict[str, Any], **others: Any) -> RunConfig:
    table = {
        "rounds": 1,
        "model": {"name": "minilm"},
        "data": {"path": "/data/my.csv"},
        "method": {"name": "fedtt"},
        "server": UNIFORM,
        "privacy": {"client": client},
        **others,
    }
    return parse_config(table, where="test")


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in CLIENT.items() if name != key}


def test_nothing_is_guaranteed_by_default() -> None:
    assert parsed({**CLIENT}, privacy={}).privacy.client is None
    assert parsed(CLIENT).privacy.client is not None


def test_noise_or_an_epsilon_is_needed() -> None:
    with pytest.raises(ConfigError, match="one of noise_multiplier and target_epsilon"):
        parsed(without("noise_multiplier"))
    parsed({**without("noise_multiplier"), "target_epsilon": 8})
    parsed({**CLIENT, "target_epsilon": 8})


@pytest.mark.parametrize("key", ["clipping_norm", "delta"])
def test_norm_and_delta_are_said(key: str) -> None:
    with pytest.raises(ConfigError, match=f"privacy.client.{key}: missing"):
        parsed(without(key))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("noise_multiplier", 0),
        ("noise_multiplier", 1001),
        ("clipping_norm", 0),
        ("delta", 0),
        ("delta", 1),
        ("target_epsilon", -1),
        ("noise_multiplier", True),
    ],
)
def test_numbers_that_guarantee_nothing_are_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"privacy.client.{key}: got {value}"):
        parsed({**CLIENT, key: value})


def test_names_are_known_and_an_accountant_knows_the_sampling() -> None:
    with pytest.raises(
        ConfigError, match=r"no sampling is called 'poison'\. Did you mean 'poisson'"
    ):
        parsed({**CLIENT, "sampling": "poison"})
    with pytest.raises(ConfigError, match="accountant 'pld' does not know sampling = 'fixed'"):
        parsed({**CLIENT, "sampling": "fixed", "accountant": "pld"})
    parsed({**CLIENT, "sampling": "fixed", "accountant": "rdp"})


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"server": {}}, "server.weighting = 'examples': a client that says"),
        (
            {"wire": {"codec": "int8", "error_feedback": True}},
            "wire.error_feedback: the server clips",
        ),
        ({"evaluation": {"alone": True}}, "evaluation.alone: a client that is trained alone"),
    ],
)
def test_what_has_no_bound_is_refused_with_the_reason(others: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"privacy.client does not go with {reason}"):
        parsed(CLIENT, **others)


def test_an_example_s_noise_or_epsilon_is_needed_and_its_accountant_known() -> None:
    def example(**changes: Any) -> RunConfig:
        table = {"clipping_norm": 0.5, "delta": 1e-5, **changes}
        return parsed({}, privacy={"example": table}, server={})

    with pytest.raises(ConfigError, match="one of noise_multiplier and target_epsilon"):
        example()
    with pytest.raises(ConfigError, match="accountant 'gdp' is none of pld, rdp"):
        example(noise_multiplier=1, accountant="gdp")
    assert example(target_epsilon=4, accountant="pld").privacy.example is not None


def test_whoever_only_reads_a_configuration_waits_for_no_accountant() -> None:
    code = "import sys, fedtt.config; sys.exit(len({'dp_accounting', 'torch'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("section", "server", "key"),
    [
        (CLIENT, {"update_norm": 1.0}, r"update_norm = 1\.0: its clipping_norm is the bound"),
        (None, {"update_norm": "median"}, "update_norm: the server cannot shorten what it does"),
        (None, {"weight_cap": 0.2}, "weight_cap: the server does not see who has which weight"),
    ],
)
def test_limits_of_an_update_that_do_not_go_with_it(
    section: dict[str, Any] | None, server: dict[str, Any], key: str
) -> None:
    privacy = {"client": section} if section else {"secure_aggregation": {}}
    with pytest.raises(ConfigError, match=key):
        parsed(CLIENT, privacy=privacy, server={**UNIFORM, **server})
