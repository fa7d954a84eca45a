"""Norms and biases of the base model beside an adapter: trained, counted, sent, saved, loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.experiment.runs import run as run_whole

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.cost import count_message
from fedtt.engine.method_and_dtype import check_goes_with_options
from fedtt.errors import ConfigError, ModelError
from fedtt.experiment import open_run
from fedtt.models import BaseModelSpec, ModelOptions, load_classifier, load_model_config
from fedtt.peft import load_adapted, sum_by_kind

MakeConfig = Callable[..., RunConfig]
ADAPTERS: dict[str, dict] = {
    "fedtt": {"name": "fedtt", "rank": 2, "bottleneck": 8},
    "lora": {"name": "lora", "rank": 2},
    "prompt": {"name": "prompt", "num_tokens": 3},
    "ia3": {"name": "ia3"},
}


def counts(federation: Federation) -> dict[str, int]:
    return sum_by_kind(federation.kinds, federation.initial.params)


def built(make_config: MakeConfig, method: str, *parts: str, **changes: object) -> Federation:
    section = {**ADAPTERS.get(method, {"name": method}), "also_train": list(parts)}
    return build_federation(make_config(method=section, **changes))


@pytest.mark.parametrize("method", ADAPTERS)
def test_all_norms_and_biases_are_counted_and_no_more(
    make_config: MakeConfig, method: str, tiny_bert: Path
) -> None:
    hidden = load_model_config(str(tiny_bert)).hidden_size
    layers = load_model_config(str(tiny_bert)).num_hidden_layers
    inner = load_model_config(str(tiny_bert)).intermediate_size
    plain = counts(built(make_config, method))
    norms = counts(built(make_config, method, "norms"))
    both = counts(built(make_config, method, "norms", "biases"))
    # One of the embeddings and two a layer, a weight and a bias each.
    assert norms == {**plain, "norms": (1 + 2 * layers) * 2 * hidden}
    # A layer: q, k, v, attention output, MLP output; MLP inner. And the pooler.
    biases = layers * (5 * hidden + inner) + hidden
    assert both == {**norms, "biases": plain.get("biases", 0) + biases}
    only = counts(built(make_config, method, "biases"))
    assert only == {**plain, "biases": both["biases"] + (1 + 2 * layers) * hidden}


@pytest.mark.parametrize("method", ["fedtt", "lora", "prompt"])
def test_a_run_trains_sends_and_saves_them(
    make_config: MakeConfig, method: str, tiny_bert: Path, tmp_path: Path
) -> None:
    config = make_config(
        method={**ADAPTERS[method], "also_train": ["norms", "biases"]}, rounds=2, seed=3
    )
    summary = run_whole(config, tmp_path / "run")
    federation = build_federation(config)
    record = open_run(tmp_path / "run").rounds()[-1]
    cost = count_message(
        load_model_config(str(tiny_bert), num_labels=2), federation.method, task="classification"
    )
    assert record["uplink_bytes"] == 3 * cost.uplink_bytes
    assert summary["exchanged_parameters"]["norms"] == cost.exchanged_parameters["norms"]

    state = open_run(tmp_path / "run").load_state(
        expected=p.structure_of(federation.initial.params)
    )
    moved = {
        name
        for name, kind in federation.kinds.items()
        if kind in {"norms", "biases"}
        and not torch.equal(state.params[name], federation.initial.params[name])
    }
    assert any("LayerNorm.weight" in name for name in moved)
    assert any("dense.bias" in name for name in moved)

    p.write_params(federation.model, state.params)
    ids = torch.arange(12).reshape(2, 6)
    expected = federation.model.eval()(input_ids=ids).logits
    for load in (PeftModel.from_pretrained, load_adapted):
        base = load_classifier(
            BaseModelSpec(name=str(tiny_bert), dtype="float32", device="cpu"),
            label_names=["bad", "good"],
            pad_token_id=0,
            seed=123,
        ).model
        loaded = load(base, tmp_path / "run" / "adapter").eval()
        torch.testing.assert_close(loaded(input_ids=ids).logits, expected)


def test_what_is_trained_already_or_not_there_is_refused(
    make_config: MakeConfig, tiny_llama: Path
) -> None:
    with pytest.raises(ModelError, match="no biases that the method does not train already"):
        built(make_config, "bitfit", "biases")
    with pytest.raises(ModelError, match="no norms that the method does not train already"):
        built(make_config, "full", "norms")
    model = {"name": str(tiny_llama), "max_length": 16, "device": "cpu"}
    with pytest.raises(ModelError, match=r"no biases .*\n  where: method.also_train"):
        built(make_config, "lora", "biases", model=model)
    assert counts(built(make_config, "lora", "norms", model=model))["norms"]


def test_biases_inside_quantized_layers_need_float32(make_config: MakeConfig) -> None:
    method = built(make_config, "lora", "biases").method
    held = ModelOptions(quantization="4bit")
    with pytest.raises(ConfigError, match="trains float32 inside the quantized layers"):
        check_goes_with_options(method, held, dtype="bfloat16")
    check_goes_with_options(method, held, dtype="float32")
