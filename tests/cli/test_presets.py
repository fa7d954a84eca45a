"""A preset is found by its name: in a checkout, and by who has installed the wheel alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fedtt
from fedtt.config import RunConfig, dump_config
from fedtt.errors import ConfigError
from fedtt.preset_files import find_config, preset_files

MakeConfig = Callable[..., RunConfig]
Command = Callable[..., str]
ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "presets").glob("*.toml"))


def test_every_preset_is_found_by_its_name_and_listed(command: Command) -> None:
    assert [preset_files()[name] for name in preset_files()] == FILES
    rows = json.loads(command("presets", "--json"))["presets"]
    assert [row["name"] for row in rows] == [path.stem for path in FILES]
    assert all(row["about"] and (row["source"] or row["files"]) for row in rows)
    assert "data.test_path" in command("presets")
    assert command("presets", "silos") == (ROOT / "presets" / "silos.toml").read_text()
    assert "Did you mean 'silos'" in command("presets", "silo", code=2)


def test_a_file_goes_before_the_preset_of_its_name(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fedtt.load_config("silos").data.source == "sentiment-silos"
    (tmp_path / "silos").mkdir()
    assert fedtt.load_config("silos").data.source == "sentiment-silos"
    (tmp_path / "silos").rmdir()
    (tmp_path / "silos").write_text(dump_config(make_config(rounds=77)))
    assert fedtt.load_config("silos").rounds == 77
    assert find_config("./silos.toml") == Path("silos.toml")  # a path is no name


@pytest.mark.parametrize("verb", [("train",), ("data", "preview"), ("doctor",), ("compare",)])
def test_every_verb_says_which_presets_there_are(command: Command, verb: tuple[str, ...]) -> None:
    said = command(*verb, "tiny-uplnk", code=2)
    assert "where: tiny-uplnk" in said
    assert "Did you mean 'tiny-uplink'" in said
    assert "There are: parity, silos, smollm2" in said


def test_a_name_longer_than_any_file_is_no_preset() -> None:
    with pytest.raises(ConfigError, match="no preset is called"):
        find_config("x" * 5000)


@pytest.mark.slow
def test_a_wheel_brings_its_presets(
    make_config: MakeConfig, tmp_path: Path, tiny_bert: Path, reviews: Path
) -> None:
    """Built and installed without a network, and run where no checkout is in sight."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "-w", tmp_path, ROOT], check=True, timeout=300)
    (wheel,) = tmp_path.glob("fedtt-*.whl")
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    subprocess.run([*pip, "install", *offline, "--target", target, wheel], check=True, timeout=300)
    elsewhere.mkdir()

    def python(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(target)}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = "import fedtt; print(fedtt.__file__); print(fedtt.load_config('tiny-uplink').rounds)"
    assert python("-c", place).split() == [str(target / "fedtt" / "__init__.py"), "20"]
    rows = json.loads(python("-m", "fedtt", "presets", "--json"))["presets"]
    assert {row["path"] for row in rows} == {
        str(target / "fedtt" / "presets" / path.name) for path in FILES
    }
    own = [f"model.name={tiny_bert}", "model.max_length=16", f"data.path={reviews}", "data.source="]
    quick = ["rounds=2", "client.steps=1", "evaluation.alone=false"]
    options = [part for value in (*own, *quick) for part in ("--set", value)]
    run = python("-m", "fedtt", "train", "silos", "--run", "r", "--json", *options)
    assert json.loads(run)["rounds"] == 2
