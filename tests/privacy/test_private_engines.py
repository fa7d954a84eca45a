"""The mechanism is the round's: every engine ends in the same place, with the same secret."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.sites.in_process import (
    Bench,
    answers_of,
    federation_of,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.experiment import create_run, open_run, run_experiment
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.federated.privacy.client_privacy import ClientPrivacy
from fedtt.federated.privacy.keystream import secret_streams

ROUNDS, CLIENTS = 4, 6
MakeConfig = Callable[..., RunConfig]


def secret_of_an_empty_round() -> bytes:
    """A secret with which nobody is drawn in one of the rounds, and somebody in another."""
    for number in range(1000):
        secret = number.to_bytes(32, "big")
        privacy = ClientPrivacy(
            sampling="poisson", population=CLIENTS, expected=2, streams=secret_streams(secret)
        )
        sizes = [len(privacy.positions(index)) for index in range(ROUNDS)]
        if min(sizes[:-1]) == 0 and max(sizes) >= 3:
            return secret
    raise AssertionError("one in ten rounds is empty")


def config_of(make_config: MakeConfig, *, batched: str) -> RunConfig:
    return make_config(
        rounds=ROUNDS,
        partition={"kind": "iid", "clients": CLIENTS},
        cohort={"size": 2, "batched": batched},
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        server={"weighting": "uniform"},
        wire={"codec": "int8"},
        evaluation={"every": 2},
        privacy={
            "client": {
                "clipping_norm": 0.1,
                "noise_multiplier": 0.5,
                "delta": 1e-2,
                "adaptive": {},
            }
        },
    )


def directory_at(path: Path, config: RunConfig) -> Path:
    create_run(path, config, overwrite=False)
    (path / SECRET).write_bytes(secret_of_an_empty_round())
    return path


def run_here(path: Path, config: RunConfig) -> dict[str, torch.Tensor]:
    directory = open_run(directory_at(path, config))
    run_experiment(config, federation_of(config), directory, notify=lambda _event: None)
    assert 0 in [len(record["clients"]) for record in directory.rounds()]
    return load_file(directory.state_path)


@pytest.mark.slow
def test_sites_end_where_one_process_does_and_are_told_no_secret(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = config_of(make_config, batched="off")
    bench = Bench(answers_of(share_workers()))
    path = directory_at(tmp_path / "sites", config)
    summary = run_sites(config, path, bench)
    here = run_here(tmp_path / "here", config)
    there = load_file(path / "state.safetensors")
    assert all(torch.equal(here[name], there[name]) for name in here)
    assert summary["privacy"]["epsilon"] > 0
    secret = (path / SECRET).read_bytes()
    for _, frame in bench.sent:
        told = repr(frame.content).encode() + b"".join(frame.blobs)
        assert secret not in told
        assert secret.hex().encode() not in told


def test_clients_that_train_together_get_the_same_noise(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """Its standard deviation is 0.025 a number; what differs is rounding, and int8's."""
    apart, together = (
        run_here(tmp_path / batched, config_of(make_config, batched=batched))
        for batched in ("off", "auto")
    )
    for name, tensor in apart.items():
        torch.testing.assert_close(together[name], tensor, atol=2e-3, rtol=0)
