"""The summary, and what is printed of it, where there is nothing to compare with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import VOCABULARY, save_tiny_tokenizer
from transformers import ErnieConfig, ErnieForSequenceClassification

from fedtt.cli.terminal_tables import print_result
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.experiment import create_run, open_run, run_experiment


def test_a_model_in_which_lora_has_no_place_by_default_has_no_reference(
    make_config: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = ErnieForSequenceClassification(ErnieConfig(vocab_size=len(VOCABULARY), **sizes))
    model.save_pretrained(tmp_path / "ernie")
    save_tiny_tokenizer(tmp_path / "ernie")
    config = make_config(
        rounds=1,
        model={"name": str(tmp_path / "ernie"), "max_length": 16, "device": "cpu"},
        method={"name": "fedtt", "rank": 2, "bottleneck": 8, "target_modules": ["output.dense"]},
        client={"steps": 1, "batch_size": 4},
        evaluation={"alone": False},
    )
    federation = build_federation(config)
    assert federation.lora_reference is None
    path = tmp_path / "run"
    create_run(path, config, overwrite=False)
    directory = open_run(path)
    summary = run_experiment(config, federation, directory, notify=lambda _event: None)
    assert json.loads((path / "summary.json").read_text())["lora_reference"] is None
    print_result(summary, path=path)
    printed = capsys.readouterr().out
    assert "sent in all" in printed
    assert "LoRA" not in printed
