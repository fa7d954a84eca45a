"""A secure sum between real processes, one of which dies between two stages."""

import sys
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
    write_own_files,
)
from tests.tiny import write_reviews

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = {"north": 30, "south": 60, "west": 44, "east": 36}
# fedtt, whose site is gone when it is to train: its keys and shares are at the others.
DYING = """
import os
from fedtt.sites.site_worker import Worker
Worker._worked = lambda *_: os._exit(1)
from fedtt.cli import main
main()
"""


def test_a_site_dies_after_it_dealt_its_shares_and_the_others_sum_is_used(
    tiny_bert: Path, tmp_path: Path
) -> None:
    reviews = write_reviews(tmp_path / "all.jsonl", clients=SIZES)
    table = {
        "rounds": 2,
        "model": {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dtype": "float32"},
        "data": {"path": str(reviews), "label_names": ["bad", "good"], "test": 0.2},
        "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
        "cohort": {"batched": "off"},
        "client": {"steps": 2, "batch_size": 8, "learning_rate": 1e-2},
        "evaluation": {"alone": False, "every": 0, "test": False},
        "privacy": {"secure_aggregation": {"threshold": 3}},
        "sites": {"names": list(SIZES), "deadline": 75, "patience": 240, "min_replies": 3},
    }
    job, port, run = tmp_path / "job.toml", free_port(), tmp_path / "run"
    job.write_text(tomli_w.dumps(table))
    with commands() as started:
        serve = ["serve", str(job), "--address", f"127.0.0.1:{port}", "--run", str(run)]
        server = Command(*serve, log=tmp_path / "serve.log")
        started.append(server)
        server.wait_for("4 sites may join")
        for name, data in write_own_files(reviews, tmp_path).items():
            joining = ["join", "--server", f"127.0.0.1:{port}", "--name", name, "--data", str(data)]
            argv = [sys.executable, "-c", DYING] if name == "east" else None
            started.append(Command(*joining, log=tmp_path / f"{name}.log", argv=argv))
        assert server.ends() == 0, server.output[-3000:]
        families = set().union(*(command.family() for command in started))
    first, second = rounds_of(run)
    assert set(first["clients"]) == set(second["clients"]) == {"north", "south", "west"}
    assert first["dropped"]["east"] > 0, "it was sent the others' keys and shares"
    assert second["dropped"]["east"] == 0
    assert first["loss"] > 0
    state = load_file(run / "state.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    assert "threshold" in (run / "rounds.jsonl").read_text()
    all_gone(families)
