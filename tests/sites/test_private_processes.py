"""Client-level privacy between real processes: the run of one process, and one account of it."""

import json
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from tests.sites.federation import (
    Command,
    all_gone,
    commands,
    free_port,
    rounds_of,
    wait_until,
    write_own_files,
)
from tests.sites.in_process import federation_of
from tests.tiny import write_reviews

from fedtt.config import RunConfig, load_config
from fedtt.experiment import create_run, open_run, run_experiment
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.federated.privacy.client_privacy import ClientPrivacy
from fedtt.federated.privacy.keystream import secret_streams

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = {"north": 30, "south": 60, "west": 44}
ROUNDS = 3


def secret_that_draws_some() -> bytes:
    """In every round somebody, and not in every round all."""
    for number in range(1000):
        secret = number.to_bytes(32, "big")
        privacy = ClientPrivacy(
            sampling="poisson", population=3, expected=2, streams=secret_streams(secret)
        )
        sizes = [len(privacy.positions(index)) for index in range(ROUNDS)]
        if min(sizes) >= 1 and min(sizes) < 3:
            return secret
    raise AssertionError("most secrets do")


def directory_at(path: Path, config: RunConfig) -> Path:
    create_run(path, config, overwrite=False)
    (path / SECRET).write_bytes(secret_that_draws_some())
    return path


def test_it_ends_where_one_process_does_and_a_restart_goes_on_counting(
    tiny_bert: Path, tmp_path: Path
) -> None:
    reviews = write_reviews(tmp_path / "all.jsonl", clients=SIZES)
    table = {
        "rounds": ROUNDS,
        "model": {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dtype": "float32"},
        "data": {"path": str(reviews), "label_names": ["bad", "good"], "test": 0.2},
        "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
        "cohort": {"size": 2, "batched": "off"},
        "client": {"steps": 2, "batch_size": 8, "learning_rate": 1e-2},
        "server": {"weighting": "uniform"},
        "evaluation": {"alone": False, "every": 0, "test": False},
        "privacy": {"client": {"clipping_norm": 0.1, "noise_multiplier": 0.5, "delta": 1e-2}},
        "sites": {"names": list(SIZES), "deadline": 240, "patience": 240},
    }
    job, port = tmp_path / "job.toml", free_port()
    job.write_text(tomli_w.dumps(table))
    config = load_config(job)
    run = directory_at(tmp_path / "sites", config)
    with commands() as started:
        serve = ["serve", "--resume", str(run), "--address", f"127.0.0.1:{port}"]
        server = Command(*serve, log=tmp_path / "serve.log")
        started.append(server)
        server.wait_for("3 sites may join")
        for name, data in write_own_files(reviews, tmp_path).items():
            joining = ["join", "--server", f"127.0.0.1:{port}", "--name", name, "--data", str(data)]
            started.append(Command(*joining, log=tmp_path / f"{name}.log"))
        wait_until(lambda: len(rounds_of(run)) >= 1, what="a round is done")
        server.family()
        server.kill()
        all_gone(server.family())
        again = Command(*serve, log=tmp_path / "again.log")
        started.append(again)
        assert again.ends() == 0, again.output[-3000:]
        families = set().union(*(command.family() for command in started))
    here = open_run(directory_at(tmp_path / "here", config))
    summary = run_experiment(config, federation_of(config), here, notify=lambda _event: None)
    there, alone = (load_file(p / "state.safetensors") for p in (run, here.path))
    for name, tensor in alone.items():  # the noise's deviation is 0.025 a number
        torch.testing.assert_close(there[name], tensor, atol=1e-6, rtol=0, msg=name)
    spent = [record["privacy"]["epsilon"] for record in rounds_of(run)]
    assert spent == [record["privacy"]["epsilon"] for record in here.rounds()]
    assert 0 < spent[0] < spent[1] < spent[2] == summary["privacy"]["epsilon"]
    saved = json.loads((run / "summary.json").read_text())["privacy"]
    assert saved["epsilon"] == spent[2]
    assert f"epsilon {spent[2]:.3f}" in again.output
    assert not any(name in (run / "rounds.jsonl").read_text() for name in SIZES)
    all_gone(families)
