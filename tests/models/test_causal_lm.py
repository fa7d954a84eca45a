"""Causal language models: every weight from the checkpoint, or an error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tests.peft.tiny_architectures import (
    CONFIGS,
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_lm,
    tokens,
    train,
)
from tests.tiny import save_tiny_tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, LlamaModel

from fedtt.errors import ModelError
from fedtt.models import BaseModelSpec, LoadedModel, ModelOptions, load_causal_lm, load_tokenizer
from fedtt.peft import TTAdapterConfig, adapt, exchanged_parameters

DECODERS = [
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "llama",
    "mistral",
    "opt",
    "phi3",
    "qwen2",
    "qwen3",
]
ENCODERS = sorted(set(CONFIGS) - set(DECODERS))
SLOW = {"gemma", "gemma2", "gemma3", "gemma3_text", "gpt_neox", "opt", "phi3", "qwen3"}
pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]


def long_tail(names: list[str]) -> list[Any]:
    return [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in names]


def load(
    place: Path | str, *, pad_token_id: int = 0, options: ModelOptions | None = None, **changes: Any
) -> LoadedModel:
    held = {"dtype": "float32", "device": "cpu", "options": options or ModelOptions()} | changes
    return load_causal_lm(BaseModelSpec(name=str(place), **held), pad_token_id=pad_token_id)


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    tiny_lm("llama").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model_type", long_tail(DECODERS))
def test_every_decoder_is_loaded_adapted_trained_saved_and_read_by_peft_alone(
    model_type: str, tmp_path: Path
) -> None:
    saved = tiny_lm(model_type)
    saved.save_pretrained(tmp_path / "base")
    ids = tokens()
    base = load(tmp_path / "base")
    assert (base.drawn, base.notes) == ((), ())
    assert torch.equal(logits(base.model, ids), logits(saved, ids))

    config = TTAdapterConfig(task_type="CAUSAL_LM", rank=2, bottleneck=8)
    model = adapt(base.model, config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, ids, ids, steps=2)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(exchanged_parameters(model))

    model.save_pretrained(tmp_path / "adapter")
    alone = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    read = PeftModel.from_pretrained(alone, tmp_path / "adapter")
    assert torch.equal(logits(read, ids), logits(model, ids))
    assert not torch.allclose(logits(read, ids), logits(saved, ids))


@pytest.mark.parametrize("model_type", long_tail(DECODERS))
def test_checkpointing_gives_a_causal_lm_the_same_gradients(
    model_type: str, tmp_path: Path
) -> None:
    tiny_lm(model_type).save_pretrained(tmp_path)
    found = []
    for on in (False, True):
        options = ModelOptions(gradient_checkpointing=on)
        torch.manual_seed(3)
        config = TTAdapterConfig(task_type="CAUSAL_LM", rank=2, bottleneck=8, init_weights=False)
        model = adapt(load(tmp_path, options=options).model, config).train()
        torch.manual_seed(4)
        model(input_ids=tokens(), labels=tokens()).loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in found[0].items():
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_an_encoder_is_refused(model_type: str, tmp_path: Path) -> None:
    tiny_classifier(model_type).config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"(?s)no causal language model.*model_type {model_type}"):
        load(tmp_path)


def test_a_head_that_the_checkpoint_lacks_is_not_made_up(tmp_path: Path) -> None:
    body = LlamaModel(tiny_lm("llama", tie_word_embeddings=False).config)
    body.save_pretrained(tmp_path)
    state = torch.random.get_rng_state()
    with pytest.raises(ModelError, match=r"0 weights of another shape and 1 missing: lm_head"):
        load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_tied_head_is_the_embeddings(tmp_path: Path) -> None:
    tiny_lm("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    model: Any = load(tmp_path).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_weights_of_another_shape(llama: Path) -> None:
    config = llama / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "vocab_size": 70}))
    with pytest.raises(ModelError, match=r"(?s)2 weights of another shape.*lm_head\.weight \[64, "):
        load(llama)


def test_a_classifiers_checkpoint_is_no_language_model(tmp_path: Path) -> None:
    tiny_classifier("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"1 missing: lm_head\.weight"):
        load(tmp_path)


def test_a_missing_block(llama: Path) -> None:
    weights = load_file(llama / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 missing: model\.layers\.1\.mlp\.up_proj"):
        load(llama)


def test_pickles_are_not_read(llama: Path) -> None:
    torch.save(load_file(llama / "model.safetensors"), llama / "pytorch_model.bin")
    (llama / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load(llama)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_dropout_type_and_pad_token(model_type: str, tmp_path: Path) -> None:
    tiny_lm(model_type).save_pretrained(tmp_path)
    model: Any = load(tmp_path, dropout=0.25, dtype="bfloat16", pad_token_id=5).model
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert (model.config.pad_token_id, model.generation_config.pad_token_id) == (5, 5)
    rates = {m.p for m in model.modules() if isinstance(m, nn.Dropout)}
    assert rates == ({0.25} if model_type == "gpt2" else set())
    if model_type == "llama":
        assert model.config.attention_dropout == 0.25


def test_dropout_reaches_the_text_part_of_a_configuration(tmp_path: Path) -> None:
    tiny_lm("gemma3").save_pretrained(tmp_path)
    config: Any = load(tmp_path, dropout=0.25).model.config
    assert config.text_config.attention_dropout == 0.25


# Padding


@pytest.fixture
def without_pad(tmp_path: Path) -> Callable[..., Path]:
    """A directory whose tokenizer knows an end token and none for padding."""

    def save(**changes: Any) -> Path:
        save_tiny_tokenizer(tmp_path)
        path = tmp_path / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        del settings["pad_token"]
        path.write_text(json.dumps({**settings, **changes}))
        tiny_lm("llama").config.save_pretrained(tmp_path)
        return tmp_path

    return save


@pytest.mark.parametrize("asked", ["left", "right"])
def test_the_end_token_pads_where_no_other_does(
    asked: Any, without_pad: Callable[..., Path]
) -> None:
    written = {"left": "right", "right": "left"}[asked]
    place = without_pad(eos_token="[SEP]", padding_side=written)
    tokenizer = load_tokenizer(str(place), padding_side=asked)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("[SEP]", 3)
    assert tokenizer.padding_side == asked
    assert load_tokenizer(str(place)).padding_side == "right"


def test_a_tokenizer_with_neither(without_pad: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match=r"(?s)neither a pad nor an end token.*set pad_token in"):
        load_tokenizer(str(without_pad()))
