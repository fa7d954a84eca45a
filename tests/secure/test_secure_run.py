"""A run whose updates are summed securely: where it ends, resuming, records."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.experiment.runs import run_and_hear

from fedtt.config import RunConfig
from fedtt.experiment import RunPrepared

MakeConfig = Callable[..., RunConfig]


def config_of(make_config: MakeConfig, **privacy: object) -> RunConfig:
    return make_config(
        rounds=2,
        partition={"kind": "iid", "clients": 6},
        cohort={"size": 5, "dropout": 0.1},
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        evaluation={"every": 0, "test": False},
        privacy=privacy,
    )


def test_a_run_ends_where_the_plain_one_does_resumes_to_the_bit_and_says_nothing_of_one_client(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    secure = config_of(make_config, secure_aggregation={"threshold": 4})
    events = run_and_hear(secure, tmp_path / "whole")
    run_and_hear(secure, tmp_path / "parts", stop_after=1)
    run_and_hear(secure, tmp_path / "parts")
    run_and_hear(config_of(make_config), tmp_path / "plain")
    states = {
        name: load_file(tmp_path / name / "state.safetensors")
        for name in ("whole", "parts", "plain")
    }
    for name, tensor in states["whole"].items():
        assert torch.equal(states["parts"][name], tensor), "new keys change no bit"
        torch.testing.assert_close(states["plain"][name], tensor, atol=5e-4, rtol=1e-3)
    (prepared,) = [event for event in events if isinstance(event, RunPrepared)]
    assert "sum of at least 4 of a round's 5 clients" in prepared.privacy[0]
    assert "simulated" in prepared.privacy[0]
    assert "learns" not in prepared.privacy[0]
    lines = (tmp_path / "whole" / "rounds.jsonl").read_text().splitlines()
    plain = (tmp_path / "plain" / "rounds.jsonl").read_text().splitlines()
    for line, other in zip(map(json.loads, lines), map(json.loads, plain), strict=True):
        assert line["secure_sum"] == {"threshold": 4, "out_of_range": 0}
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-3)
        assert line["clients"].keys() == other["clients"].keys()
        for client in line["clients"].values():
            assert client.keys() == {"uplink_bytes", "downlink_bytes"}
