"""``fedtt train`` with a privacy budget: what it says, and what it refuses before it begins."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtt.cli import main
from fedtt.config import RunConfig, dump_config
from fedtt.experiment.run_secret import FILE as SECRET

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def config_file(make_config: MakeConfig, tmp_path: Path) -> Path:
    config = make_config(
        rounds=3,
        partition={"kind": "iid", "clients": 12},
        cohort={"size": 6},
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        server={"weighting": "uniform"},
        evaluation={"every": 0},
        privacy={"client": {"clipping_norm": 0.1, "noise_multiplier": 0.8, "delta": 0.1}},
    )
    path = tmp_path / "config.toml"
    path.write_text(dump_config(config))
    return path


@pytest.fixture
def fedtt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["fedtt", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        output = capsys.readouterr()
        return code, " ".join((output.out + output.err).split())

    return run


def test_every_round_says_epsilon_and_the_end_says_what_holds(
    fedtt: Callable, config_file: Path, tmp_path: Path
) -> None:
    budget = ("--set", "privacy.client.target_epsilon=1.5")
    code, shown = fedtt("train", config_file, *budget, "--run", tmp_path / "run")
    assert code == 0
    lines = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    spent = [json.loads(line)["privacy"]["epsilon"] for line in lines]
    assert 1 <= len(spent) < 3
    for epsilon in spent:
        assert f"loss - epsilon {epsilon:.3f} (delta 0.1)" in shown
    assert "note: client-level differential privacy: epsilon" in shown
    assert f"the privacy budget is for {len(spent)} of 3 rounds" in shown
    assert "delta = 0.1 is not below 1 / 12 clients" in shown
    assert "outside the guarantee: evaluation.every = 0" in shown
    assert f"differential privacy: epsilon {spent[-1]:.3f} at delta 0.1 (one client more" in shown
    assert f"stopped: the privacy budget is for {len(spent)} of 3 rounds" in shown
    secret = (tmp_path / "run" / SECRET).read_bytes()
    assert secret.hex() not in shown
    (tmp_path / "run" / SECRET).unlink()
    code, shown = fedtt("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "the secret of a private run is gone" in shown


def test_an_epsilon_out_of_reach_is_refused_before_anything_is_written(
    fedtt: Callable, config_file: Path, tmp_path: Path
) -> None:
    out_of_reach = ("--set", "privacy.client={clipping_norm=1,target_epsilon=1e-6,delta=1e-9}")
    code, shown = fedtt("train", config_file, *out_of_reach, "--run", tmp_path / "run")
    assert code == 2
    assert "that epsilon cannot be reached" in shown
    assert "3 rounds come to 0.0" in shown
    assert not (tmp_path / "run").exists()
