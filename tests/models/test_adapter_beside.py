"""An adapter that somebody saved into a base model's directory is no part of the base."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.peft.tiny_architectures import PEFT_WARNING
from transformers import AutoModel

from fedtt.models import BaseModelSpec, LoadedModel, load_causal_lm, load_classifier
from fedtt.peft import adapt, count_by_kind

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def load(directory: Path, *, causal: bool) -> LoadedModel:
    base = BaseModelSpec(name=str(directory), dropout=0.0, dtype="float32", device="cpu")
    if causal:
        return load_causal_lm(base, pad_token_id=0)
    return load_classifier(base, label_names=["no", "yes"], pad_token_id=0, seed=0)


def with_adapter(model: Path, copy: Path, *, targets: list[str]) -> Path:
    """A copy of the model's directory with a LoRA beside it that changes everything."""
    shutil.copytree(model, copy)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=targets, init_lora_weights=False)
    get_peft_model(AutoModel.from_pretrained(copy), config).save_pretrained(copy)
    return copy


@pytest.mark.parametrize("causal", [False, True])
def test_the_base_is_the_models_own_weights_alone(
    tiny_bert: Path, tiny_llama: Path, tmp_path: Path, causal: bool
) -> None:
    model, targets = (tiny_llama, ["q_proj"]) if causal else (tiny_bert, ["query"])
    beside = load(with_adapter(model, tmp_path / "beside", targets=targets), causal=causal)
    alone = load(model, causal=causal)
    found, expected = beside.model.state_dict(), alone.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    lora = LoraConfig(task_type="CAUSAL_LM" if causal else "SEQ_CLS", r=2, target_modules=targets)
    assert count_by_kind(adapt(beside.model, lora)) == count_by_kind(adapt(alone.model, lora))


def test_a_note_says_that_it_is_not_used(tiny_bert: Path, tmp_path: Path) -> None:
    beside = with_adapter(tiny_bert, tmp_path / "beside", targets=["query"])
    (*_, note) = load(beside, causal=False).notes
    assert note not in load(tiny_bert, causal=False).notes
    assert "An adapter lies beside the base model" in note
    assert "It is not used" in note
