"""Two processes under torchrun, talking over gloo: the same run as one, and what if one dies."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.engine import every_task
from tests.experiment import tracked
from torch.testing import assert_close

LIMIT = 240  # seconds; nothing here may hang
# Processes that load torch; tests/engine/test_spread.py has what they say to each other.
pytestmark = pytest.mark.slow


def torchrun(*arguments: object) -> list[str]:
    # "--" keeps torchrun from taking fedtt's --run for the beginning of its own --run-path.
    options = ["--standalone", "--nproc-per-node", "2", "-m", "--", "fedtt"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *map(str, arguments)]


def fedtt(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "fedtt", *map(str, arguments)]


def succeed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def config_file(tiny_bert: Path, reviews: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        "rounds = 3\n"
        f'model = {{ name = "{tiny_bert}", max_length = 16, device = "cpu", dtype = "float32" }}\n'
        f'data = {{ path = "{reviews}" }}\n'
        'partition = { kind = "iid", clients = 7 }\n'
        'method = { name = "fedtt", rank = 2, bottleneck = 8 }\n'
        "cohort = { size = 5 }\n"
        "client = { steps = 3, batch_size = 4, learning_rate = 1e-2 }\n"
    )
    return path


def check_same(one: Path, two: Path) -> None:
    expected, found = (load_file(run / "state.safetensors") for run in (one, two))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        pair = (found[name], tensor)
        if name.startswith("steps/") and not torch.equal(*pair):
            pair = tuple(body.view(torch.float32) for body in pair)  # as a plain downlink has them
        assert_close(*pair, atol=1e-5, rtol=1e-4)
    sent = [
        [
            json.loads(line)["uplink_bytes"]
            for line in (run / "rounds.jsonl").read_text().splitlines()
        ]
        for run in (one, two)
    ]
    assert sent[0] == sent[1]


# Clients one by one: the same bits in any process, so that none is rounded otherwise.
LOSSY = tuple(
    part
    for key in (
        "wire={codec='int4', downlink='int4', error_feedback=true}",
        "cohort={batched='off'}",
    )
    for part in ("--set", key)
)


@pytest.mark.parametrize(
    "more",
    [(), ("--set", "method.subspace={size=90}"), LOSSY],
    ids=["", "subspace", "int4, error feedback"],
)
def test_two_processes_end_where_one_does(
    config_file: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    succeed(fedtt("train", config_file, *more, "--run", one, "--quiet"))
    follow = [part for name in tracked.TENSORBOARD for part in ("--set", f'track.to=["{name}"]')]
    shown = succeed(torchrun("train", config_file, *more, *follow, "--run", two))
    assert shown.count("test accuracy") == 1  # the leader alone speaks
    check_same(one, two)
    if follow:  # by the leader alone, so that nothing is there twice
        points, _ = tracked.tensorboard(two)
        assert {after for name, after in points if name == "train/loss"} == {1, 2, 3}


def test_every_task_is_measured_between_two_as_by_one(
    tiny_bert: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    options = ["--standalone", "--nproc-per-node", "2", "-m", "--", "tests.engine.every_task"]
    places = map(str, (tmp_path, tiny_bert, tiny_llama))
    shown = succeed([sys.executable, "-m", "torch.distributed.run", *options, *places])
    for name in every_task.NAMES:
        assert f"{name}: " in shown


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_leaves_a_run_to_resume(
    config_file: Path, tmp_path: Path, rank: int
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    long = ["--set", "rounds=12"]
    succeed(fedtt("train", config_file, *long, "--run", one, "--quiet"))
    with subprocess.Popen(
        torchrun("train", config_file, *long, "--run", two),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        deadline = time.monotonic() + LIMIT
        while not (two / "rounds.jsonl").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process_of_rank(started.pid, rank), signal.SIGKILL)
        _, errors = started.communicate(timeout=LIMIT)
    assert started.returncode != 0
    assert re.search("a process of the run is gone|stopped on request", errors)
    assert not (two / "summary.json").exists()
    succeed(torchrun("train", "--resume", two, "--quiet"))
    check_same(one, two)


def test_a_bad_configuration_ends_all_of_them(config_file: Path, tmp_path: Path) -> None:
    bad = ["--set", "model.max_length=100000"]
    command = torchrun("train", config_file, *bad, "--run", tmp_path / "run")
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode != 0
    assert "longer texts than the model has positions for" in done.stderr
    assert not (tmp_path / "run").exists()


def process_of_rank(launcher: int, rank: int) -> int:
    """The child of the launcher whose environment says that rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no process of rank {rank} among {children}")
