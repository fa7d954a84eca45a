"""``fedtt compare`` as a user meets it: a real process, its streams, its exit code."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from fedtt.cli import main
from fedtt.config import RunConfig

COMPARE = {
    "seeds": [0],
    "target": 0.01,
    "settings": [{"name": "by client"}],
    "methods": [
        {"name": "fedtt", "set": {"method": {"name": "fedtt", "rank": 2, "bottleneck": 8}}},
        # Long enough that a signal sent after the first cell arrives during the second.
        {"name": "lora", "set": {"method": {"name": "lora", "rank": 4}, "client.steps": 40}},
    ],
}


@pytest.fixture
def config_file(make_config: Callable[..., RunConfig], tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    config = make_config(rounds=1, client={"steps": 1})
    table = config.model_dump(mode="json", exclude_none=True, exclude={"method", "seed"})
    path.write_text(tomli_w.dumps({**table, "compare": COMPARE}))
    return path


def fedtt(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["fedtt", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, 2)


@pytest.mark.slow
def test_ctrl_c_exits_with_130_and_the_same_command_goes_on(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    command = [sys.executable, "-m", "fedtt", "compare", str(config_file)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert first.startswith("cell 1/2  by client / plain / fedtt / seed 0  validation ")
    assert "  left " in first
    assert process.returncode == 130, message
    assert "goes on from there" in message
    assert "Traceback" not in message
    out = tmp_path / "runs" / "small"
    finished = out / "cells/by client/plain/fedtt/seed0/summary.json"
    before = finished.stat().st_mtime_ns
    assert not (out / "cells/by client/plain/lora/seed0/summary.json").exists()

    fedtt(monkeypatch, "compare", config_file, "--out", out)
    output = capsys.readouterr().out
    assert "cell 2/2  by client / plain / lora / seed 0" in output
    assert "cell 1/2" not in output
    assert "accuracy at equal bytes" in output
    assert f"{out}: results.csv, results.md, results.tex, curves.png, curves.svg" in output
    assert "\x1b" not in output
    assert finished.stat().st_mtime_ns == before
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    assert [(row["method"], row["status"]) for row in rows] == [("fedtt", "done"), ("lora", "done")]

    fedtt(monkeypatch, "compare", config_file, "--out", out, "--json")
    document = json.loads(capsys.readouterr().out)
    methods = document["groups"][0]["methods"]
    assert [row["method"] for row in methods] == ["fedtt", "lora"]
    assert methods[1]["test_score"]["mean"] == float(rows[1]["test_accuracy"])
    assert methods[0]["bytes_to_target"][0]["reached"] == 1
    fedtt(monkeypatch, "compare", config_file, "--out", out, "--quiet")
    assert capsys.readouterr().out == ""


def test_bad_input_leaves_nothing(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    fedtt(monkeypatch, "compare", config_file, "--set", "client.step=3")
    assert "did you mean 'client.steps'?" in capsys.readouterr().err
    fedtt(monkeypatch, "compare", config_file, "--set", "model.name=no-such/model")
    assert "no-such/model" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "small" / "cells").exists()


def test_failed_cells_are_named_at_the_end(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    text = config_file.read_text()
    assert text.count("rank = 4") == 1
    config_file.write_text(text.replace("rank = 4", 'target_modules = ["nope"]'))
    fedtt(monkeypatch, "compare", config_file, "--out", tmp_path / "out")
    output = capsys.readouterr()
    assert "1 of 2 cells failed:\n  - by client / plain / lora / seed 0: " in output.err
    assert "cell 2/2  by client / plain / lora / seed 0  failed: " in output.out
