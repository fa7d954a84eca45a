"""One train beside all layers of a model, against its dense matrices."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from peft.tuners.lora.conversion import convert_to_lora
from safetensors.torch import load_file
from tests.peft.methods import masked_logits, state, train
from tests.peft.tiny_architectures import (
    BLOCKS,
    HIDDEN,
    PEFT_WARNING,
    tiny_classifier,
    tiny_lm,
    tokens,
)
from torch import Tensor, nn
from transformers import BertConfig, LlamaConfig

from fedtt.config import parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import exchanged_kinds, put_into
from fedtt.errors import ConfigError, FedttError, ModelError, ShapeError
from fedtt.federated.parameter_names import tensor_trains
from fedtt.models import build_empty_model, guess_task
from fedtt.peft import MetaTTConfig, MetaTTLayer, adapt, exchanged_parameters, sum_by_kind
from fedtt.peft.metatt_places import layer_and_projection

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
LABELS = torch.tensor([0, 1, 1, 0])
GROUPED = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]


def config(**options: object) -> MetaTTConfig:
    return MetaTTConfig(**{"task_type": "SEQ_CLS", "rank": 3, **options})


def wrapped(model_type: str = "llama", **options: object) -> PeftModel:
    """A classifier, or, with ``task_type``, another model, with a train that is not zero."""
    torch.manual_seed(0)
    make = tiny_lm if "task_type" in options else tiny_classifier
    return adapt(make(model_type), config(init_weights=False, **options))


def layers(model: nn.Module) -> dict[str, MetaTTLayer]:
    return {name: m for name, m in model.named_modules() if isinstance(m, MetaTTLayer)}


def cores_of(model: nn.Module, adapter: str = "default") -> list[Tensor]:
    trains = tensor_trains(n for n, _ in model.named_parameters() if f".{adapter}." in n)
    (names,) = trains.values()
    return [model.get_parameter(name).detach() for name in names]


def test_every_matrix_is_its_entries_of_the_train() -> None:
    """Grouped-query attention and the MLP: inputs of 24 and 40, outputs of 24, 12 and 40."""
    model = wrapped(target_modules=GROUPED, rank=[3, 5, 2], scaling=1.5)
    assert (HIDDEN, BLOCKS) == (24, 2)
    # in the order of the layers' names: attention, the MLP up, and down
    inputs, outputs = {24: (0, 24), 40: (24, 64)}, {24: (0, 24), 12: (24, 36), 40: (36, 76)}
    whole = torch.einsum("aib,blc,cpd,doe->lpio", *cores_of(model))
    assert whole.shape == (2, 5, 64, 76)
    found = layers(model)
    assert len(found) == 10
    for name, layer in found.items():
        block = int(name.split("layers.")[1][0])
        projection = GROUPED.index(name.rpartition(".")[2])
        base = layer.get_base_layer()
        (top, end), (left, right) = inputs[base.in_features], outputs[base.out_features]
        matrix = 1.5 * whole[block, projection, top:end, left:right]  # (in, out)
        torch.testing.assert_close(layer.get_delta_weight("default").detach(), matrix.T)
        x = torch.randn(3, 5, base.in_features)
        torch.testing.assert_close(layer(x), base(x) + x @ matrix, atol=1e-5, rtol=1e-5)


def test_a_transposed_weight_too() -> None:
    layer = next(iter(layers(wrapped("gpt2")).values()))
    base, x = layer.get_base_layer(), torch.randn(3, HIDDEN)
    weight = base.weight + layer.get_delta_weight("default")  # both (in, out)
    torch.testing.assert_close(layer(x), x @ weight + base.bias, atol=1e-5, rtol=1e-5)


def test_the_train_has_one_place_and_one_name(tmp_path: Path) -> None:
    model = wrapped(target_modules=GROUPED)
    names = [name for name in model.state_dict() if "metatt" in name]
    first = "base_model.model.model.layers.0.self_attn.q_proj.metatt_cores.default"
    assert names == [f"{first}.core_{index}" for index in range(4)]
    assert [n for n, k in exchanged_parameters(model).items() if k == "cores"] == names
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert [n for n in saved if "core_" in n] == [n.replace(".default", "") for n in sorted(names)]


def test_a_second_adapter_may_have_other_layers_ranks_and_its_train_elsewhere() -> None:
    ids, model = tokens(), wrapped(rank=2, task_type="CAUSAL_LM")
    alone = masked_logits(model, ids)
    other = {"task_type": "CAUSAL_LM", "init_weights": False, "target_modules": ["down_proj"]}
    model.add_adapter("other", config(rank=4, **other))
    assert [core.shape[2] for core in cores_of(model, "other")] == [4, 4, 4, 1]
    assert torch.equal(masked_logits(model, ids), alone)
    model.base_model.set_adapter(["default", "other"])
    both = masked_logits(model, ids)
    model.base_model.set_adapter("other")
    merged = masked_logits(model.merge_and_unload(adapter_names=["default", "other"]), ids)
    torch.testing.assert_close(merged, both, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(both, alone)


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
@pytest.mark.parametrize("safe", [False, True])
def test_merging_is_exact_and_can_be_undone(model_type: str, safe: bool) -> None:
    ids = tokens()
    model = wrapped(model_type, target_modules="all-linear", task_type="CAUSAL_LM")
    before, adapted = state(model), masked_logits(model, ids)
    model.merge_adapter(safe_merge=safe)
    assert model.get_model_status().merged_adapters == ["default"]
    torch.testing.assert_close(masked_logits(model, ids), adapted, atol=1e-4, rtol=1e-4)
    model.unmerge_adapter()
    for name, value in state(model).items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-5)
    merged = model.merge_and_unload(safe_merge=safe)
    assert not layers(merged)
    assert not [name for name in merged.state_dict() if "metatt" in name]
    torch.testing.assert_close(masked_logits(merged, ids), adapted, atol=1e-4, rtol=1e-4)


def test_a_merge_that_is_not_finite_leaves_the_weight_alone() -> None:
    model = wrapped()
    cores_of(model)[0].fill_(math.inf)
    layer = next(iter(layers(model).values()))
    weight = layer.get_base_layer().weight.clone()
    with pytest.raises(ModelError, match="merging gives weights that are not finite"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.get_base_layer().weight, weight)


def test_it_is_a_plain_lora_of_its_rank() -> None:
    ids, model = tokens(), wrapped("bert")
    lora_config, weights = convert_to_lora(model, rank=3)
    lora = get_peft_model(tiny_classifier("bert"), lora_config)
    set_peft_model_state_dict(lora, weights)
    torch.testing.assert_close(
        masked_logits(lora, ids), masked_logits(model, ids), atol=1e-5, rtol=0
    )


def test_it_learns_and_dropout_acts_in_training_only() -> None:
    ids = tokens()
    model = adapt(tiny_classifier("llama"), config(target_modules="all-linear", dropout=0.3))
    first = model(input_ids=ids, labels=LABELS).loss.item()
    train(model, ids, LABELS, steps=30)
    assert model(input_ids=ids, labels=LABELS).loss.item() < 0.5 * first
    layer, x = next(iter(layers(model).values())), torch.randn(2, 3, HIDDEN)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


class CodesLinear(nn.Module):
    """A linear layer of another library: widths, and codes in place of a weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("qweight", (linear.weight * 64).round().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.qweight.to(x) / 64).T


def test_quantized_layers_are_adapted_and_not_merged() -> None:
    base = tiny_lm()
    for block in base.model.layers:
        block.self_attn.q_proj = CodesLinear(block.self_attn.q_proj)
    ids, model = tokens(), adapt(base, config(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    assert train(model, ids, ids) == set(exchanged_parameters(model))
    with pytest.raises(ModelError, match="nothing can be merged into quantized weights") as caught:
        model.merge_and_unload()
    assert "got: CodesLinear" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.layer.3.attention.self.query", ("encoder.layer.3", "attention.self.query")),
        ("layers.0.mlp.experts.7.up", ("layers.0.mlp.experts.7", "up")),
        ("lm_head", ("", "lm_head")),
        ("net.2", ("net.2", "")),
    ],
)
def test_the_layer_is_what_the_last_number_ends(name: str, expected: tuple[str, str]) -> None:
    assert layer_and_projection(name) == expected


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"target_modules": ["word_embeddings"]}, ModelError, "(?s)linear layers only.*Embedding"),
        ({"rank": HIDDEN + 1}, ShapeError, f"(?s)does not fit.*at most {HIDDEN}"),
        ({"target_modules": ["query", "output.dense"], "complete": True}, ModelError,
         r"(?s)belong to no matrix.*6 matrices of 2 layers x 3 projections, inputs 24, 40,"),
        ({"target_modules": r".*layer\.0.*query|.*value", "complete": True}, ModelError,
         "3 matrices of 2 layers x 2 projections"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_changed(
    options: dict, error: type[FedttError], text: str
) -> None:
    base = tiny_classifier("bert")
    before = {name: type(module) for name, module in base.named_modules()}
    with pytest.raises(error, match=text):
        adapt(base, config(**options))
    assert {name: type(module) for name, module in base.named_modules()} == before


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rank": 0}, "positive integers"),
        ({"rank": [3, 3]}, "one rank, or three"),
        ({"scaling": math.nan}, "expected: a finite number"),
        ({"dropout": 1.0}, r"expected: a probability in \[0, 1\)"),
        ({"init_weights": 1}, "expected: True or False"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        MetaTTConfig(**values)


class Attentive(nn.Module):
    """Torch's own attention, which never calls its output projection."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)


@pytest.mark.parametrize("method", ["metatt", "lora-xs"])
def test_a_layer_that_is_never_called_is_refused(method: str) -> None:
    overrides = ['target_modules=["out_proj"]', "rank=2"]
    adapter = build_method(parse_method(method, overrides=overrides), task="causal").adapter
    with pytest.raises(ModelError, match="reads the weight of this layer and never calls it"):
        get_peft_model(Attentive(), adapter)


MINILM = BertConfig(
    hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
)
LLAMA_2_7B = LlamaConfig(
    hidden_size=4096, intermediate_size=11008, architectures=["LlamaForCausalLM"]
)
LLAMA_3_8B = LlamaConfig(
    vocab_size=128256,
    hidden_size=4096,
    intermediate_size=14336,
    num_key_value_heads=8,
    architectures=["LlamaForCausalLM"],
)
ALL = '["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]'


@pytest.mark.parametrize(
    ("base", "overrides", "expected"),
    [
        # 384 in, 6 layers, query and value, 384 out
        (MINILM, [], 384 * 8 + 6 * 8 * 8 + 2 * 8 * 8 + 8 * 384),
        (MINILM, ["rank=[16, 8, 16]"], 384 * 16 + 16 * 6 * 8 + 8 * 2 * 16 + 16 * 384),
        (LLAMA_2_7B, [], 4096 * 8 + 32 * 8 * 8 + 2 * 8 * 8 + 8 * 4096),
        # q: 4096 out; v: 1024 out, eight heads of 128
        (LLAMA_3_8B, [], 4096 * 8 + 32 * 8 * 8 + 2 * 8 * 8 + 8 * (4096 + 1024)),
        # every linear layer: inputs of 4096 and 14336; outputs of 4096, 1024 and 14336
        (
            LLAMA_3_8B,
            [f"target_modules={ALL}"],
            (4096 + 14336) * 8 + 32 * 8 * 8 + 7 * 8 * 8 + 8 * (4096 + 1024 + 14336),
        ),
    ],
    ids=["MiniLM", "MiniLM, ranks", "LLaMA-2-7B", "LLaMA-3-8B", "LLaMA-3-8B, all linear"],
)
def test_published_geometries(base: object, overrides: list[str], expected: int) -> None:
    task = guess_task(base)
    method = build_method(parse_method("metatt", overrides=overrides), task=task)
    model = put_into(build_empty_model(base, task=task), method)
    counts = sum_by_kind(exchanged_kinds(model, method), dict(model.named_parameters()))
    head = {"head": 384 * 2 + 2} if task == "classification" else {}
    assert {str(kind): count for kind, count in counts.items()} == {"cores": expected, **head}
