import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model, set_peft_model_state_dict
from peft.tuners.lora.conversion import convert_to_lora
from tests.peft.methods import state, train
from tests.peft.tiny_architectures import (
    HIDDEN,
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_lm,
    tokens,
)
from torch import nn
from transformers import ErnieConfig, ErnieForSequenceClassification, Trainer, TrainingArguments

from fedtt.errors import ConfigError, ModelError, ShapeError
from fedtt.peft import LoRAXSConfig, LoRAXSLayer, exchanged_parameters
from fedtt.peft.singular import singular_factors, unit_columns

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
LABELS = torch.tensor([0, 1, 1, 0])


def config(**overrides):
    return LoRAXSConfig(**{"r": 4, "task_type": "SEQ_CLS", **overrides})


def layers(model):
    return [module for module in model.modules() if isinstance(module, LoRAXSLayer)]


def disturb(model):
    """Random cores, so that the adapter does something; changes ``model``."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in layers(model):
            for core in layer.lora_xs_core.values():
                core.copy_(torch.randn(core.shape, generator=generator))


# The factors


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
def test_the_factors_are_those_of_the_svd(rows, columns, seed, data):
    rank = data.draw(st.integers(1, min(rows, columns)))
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    v, us = singular_factors(weight, rank=rank)
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ vt[:rank]
    torch.testing.assert_close((us @ v).double(), best, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(us.norm(dim=0).double(), s[:rank], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(v @ v.T, torch.eye(rank), atol=1e-5, rtol=0)
    peaks = v.gather(1, v.abs().argmax(1, keepdim=True))
    assert (peaks > 0).all()


def test_the_factors_do_not_depend_on_how_the_weight_lies_in_memory():
    weight = torch.randn(12, 7, generator=torch.Generator().manual_seed(0))
    for same in (weight.T.contiguous().T, weight.clone(), nn.Parameter(weight)):
        for left, right in zip(
            singular_factors(same, rank=3), singular_factors(weight, rank=3), strict=True
        ):
            torch.testing.assert_close(left, right, atol=1e-6, rtol=0)


def test_a_weight_of_lower_rank_gives_zeros_not_noise():
    weight = torch.outer(torch.arange(1.0, 5.0), torch.ones(3))
    for matrix in (weight, weight.T):
        v, us = singular_factors(matrix, rank=3)
        torch.testing.assert_close(us @ v, matrix)
        assert not v[1:].any()
        assert not us[:, 1:].any()
    v, us = singular_factors(torch.zeros(3, 4), rank=2)
    assert not v.any()
    assert not us.any()


def test_a_rank_above_the_smaller_side_is_refused():
    with pytest.raises(ShapeError, match="the rank is larger than the weight") as caught:
        get_peft_model(tiny_classifier("bert"), config(r=HIDDEN + 1))
    assert f"at most {HIDDEN}, the smaller side of {HIDDEN} x {HIDDEN}" in str(caught.value)


# The layer


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])  # nn.Linear and Conv1D
def test_it_adds_the_product_to_the_weight(model_type):
    model = get_peft_model(tiny_classifier(model_type), config(alpha=6.0))
    disturb(model)
    layer = layers(model)[0]
    linear = layer.get_base_layer()
    weight = linear.weight if model_type == "bert" else linear.weight.T  # (out, in)
    # In float32 the SVD's own rounding would show.
    u, s, vt = (t.float() for t in torch.linalg.svd(weight.detach().double(), full_matrices=False))
    v, us = layer.lora_xs_v["default"], layer.lora_xs_us["default"]
    signs = torch.sign((v * vt[:4]).sum(1))
    torch.testing.assert_close(v, signs.unsqueeze(1) * vt[:4], atol=1e-5, rtol=0)
    torch.testing.assert_close(us, u[:, :4] * s[:4] * signs, atol=1e-5, rtol=0)

    core = layer.lora_xs_core["default"]
    x = torch.randn(3, 5, weight.shape[1])
    expected = x @ (weight + 6.0 / 4 * us @ core @ v).T + linear.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_orthonormal_frames_count_all_directions_alike(model_type):
    model = get_peft_model(
        tiny_classifier(model_type),
        config(target_modules="all-linear", frames="orthonormal", scaling=4.0, alpha=6.0),
    )
    disturb(model)
    for layer in layers(model):
        linear = layer.get_base_layer()
        matrix = linear.weight if model_type == "llama" else linear.weight.T
        u, _, vt = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
        v, us = layer.lora_xs_v["default"], layer.lora_xs_us["default"]
        signs = torch.sign((v * vt[:4]).sum(1))
        torch.testing.assert_close(v, (signs.unsqueeze(1) * vt[:4]).float(), atol=1e-4, rtol=0)
        torch.testing.assert_close(us, (u[:, :4] * signs).float(), atol=1e-4, rtol=0)
        core, x = layer.lora_xs_core["default"], torch.randn(3, matrix.shape[1])
        expected = linear(x) + 4.0 * x @ v.T @ core.T @ us.T
        torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)


def test_the_published_frames_and_scale_are_the_default():
    default, named = config(alpha=6.0), config(frames="singular", scaling=1.5)  # 6 / 4
    first, second = (
        layers(get_peft_model(tiny_classifier("bert"), c))[0] for c in (default, named)
    )
    disturb_as = torch.randn(4, 4)
    for layer in (first, second):
        layer.lora_xs_core["default"].data.copy_(disturb_as)
    deltas = [layer.get_delta_weight("default") for layer in (first, second)]
    assert torch.equal(*deltas)


def test_directions_without_a_singular_value_stay_zero():
    assert torch.equal(unit_columns(torch.tensor([[3.0, 0.0], [4.0, 0.0]])),
                       torch.tensor([[0.6, 0.0], [0.8, 0.0]]))  # fmt: skip


def test_the_mean_of_the_cores_adds_the_mean_of_what_they_add():
    layer = layers(get_peft_model(tiny_classifier("bert"), config()))[0]
    weights, core = (0.2, 0.3, 0.5), layer.lora_xs_core["default"]
    cores = [torch.randn(4, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    deltas = []
    for own in cores:
        core.data = own
        deltas.append(layer.get_delta_weight("default").detach())
    core.data = sum(w * own for w, own in zip(weights, cores, strict=True))
    mean = sum(w * delta for w, delta in zip(weights, deltas, strict=True))
    torch.testing.assert_close(layer.get_delta_weight("default").detach(), mean)


def test_the_factors_are_neither_exchanged_nor_saved():
    model = get_peft_model(tiny_classifier("bert"), config())
    assert not [name for name in model.state_dict() if "lora_xs_v" in name or "lora_xs_us" in name]
    buffers = [name for name, _ in model.named_buffers() if "lora_xs" in name]
    assert len(buffers) == 2 * len(layers(model))
    assert not set(buffers) & set(exchanged_parameters(model))


def test_the_gaussian_start_has_the_papers_spread():
    torch.manual_seed(0)
    model = get_peft_model(tiny_lm(), config(r=8, init="gaussian", task_type="CAUSAL_LM"))
    values = torch.cat([layer.lora_xs_core["default"].flatten() for layer in layers(model)])
    error = 1e-5 / math.sqrt(2 * len(values))
    assert abs(values.std().item() - 1e-5) < 4 * error
    assert abs(values.mean().item()) < 4 * 1e-5 / math.sqrt(len(values))


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
@pytest.mark.parametrize("safe", [False, True])
def test_merging_is_exact_and_can_be_undone(model_type, safe):
    ids = tokens()
    base = tiny_classifier(model_type)
    model = get_peft_model(base, config(target_modules="all-linear"))
    disturb(model)
    before, adapted = state(model), logits(model, ids)
    model.merge_adapter(safe_merge=safe)
    torch.testing.assert_close(logits(model, ids), adapted, atol=1e-4, rtol=1e-4)
    model.unmerge_adapter()
    for name, value in state(model).items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-5)
    merged = model.merge_and_unload(safe_merge=safe)
    assert not layers(merged)
    torch.testing.assert_close(logits(merged, ids), adapted, atol=1e-4, rtol=1e-4)


def test_a_merge_that_is_not_finite_leaves_the_weight_alone():
    model = get_peft_model(tiny_classifier("bert"), config())
    layer = layers(model)[0]
    layer.lora_xs_core["default"].data.fill_(math.inf)
    weight = layer.get_base_layer().weight.clone()
    with pytest.raises(ModelError, match="merging gives weights that are not finite"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.get_base_layer().weight, weight)


def test_disabling_a_merged_adapter_gives_the_base_back():
    ids = tokens()
    base = logits(tiny_classifier("bert"), ids)
    model = get_peft_model(tiny_classifier("bert"), config())
    disturb(model)
    model.merge_adapter()
    with model.disable_adapter():
        torch.testing.assert_close(logits(model, ids), base, atol=1e-5, rtol=1e-5)


def test_it_is_a_plain_lora_of_its_rank():
    ids = tokens()
    model = get_peft_model(tiny_classifier("bert"), config())
    train(model, ids, LABELS, steps=5)
    lora_config, weights = convert_to_lora(model, rank=4)
    lora = get_peft_model(tiny_classifier("bert"), lora_config)
    set_peft_model_state_dict(lora, weights)
    torch.testing.assert_close(logits(lora, ids), logits(model, ids), atol=1e-5, rtol=0)


def test_dropout_acts_in_training_only():
    model = get_peft_model(tiny_classifier("bert"), config(dropout=0.5))
    disturb(model)
    layer, x = layers(model)[0], torch.randn(2, 3, HIDDEN)
    assert torch.equal(layer.eval()(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


# The config and the libraries around it


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"r": 0}, "expected: a positive integer"),
        ({"r": True}, "r is out of range"),
        ({"alpha": 0.0}, "expected: a positive number"),
        ({"alpha": math.inf}, "where: LoRAXSConfig.alpha"),
        ({"init": "identity"}, "expected: one of zero, gaussian"),
        ({"frames": "random"}, "expected: one of singular, orthonormal"),
        ({"scaling": 0.0}, "expected: a positive number"),
        ({"dropout": 1.0}, r"expected: a probability in \[0, 1\)"),
    ],
)
def test_a_value_out_of_range_is_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        LoRAXSConfig(**values)


def unknown_architecture():
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return ErnieForSequenceClassification(ErnieConfig(vocab_size=64, **sizes))


def test_an_architecture_that_lora_has_no_defaults_for_lists_its_layers():
    with pytest.raises(ModelError, match="no default target modules") as caught:
        get_peft_model(unknown_architecture(), config())
    assert "attention.self.query (2)" in str(caught.value)
    assert 'LoRAXSConfig(target_modules=["...", "..."])' in str(caught.value)
    get_peft_model(unknown_architecture(), config(target_modules=["query"]))


def test_a_module_that_is_not_linear_is_refused():
    with pytest.raises(ModelError, match="LoRA-XS adapts linear layers only") as caught:
        get_peft_model(tiny_classifier("bert"), config(target_modules=["word_embeddings"]))
    assert "got: Embedding" in str(caught.value)


def test_a_weight_of_codes_is_refused():
    base = tiny_classifier("bert")
    query = base.bert.encoder.layer[0].attention.self.query
    query.weight = torch.nn.Parameter((query.weight * 64).to(torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"computes from their weights(.|\n)*not quantized"):
        get_peft_model(base, config())


def test_the_trainer_takes_two_steps(tmp_path):
    ids, labels = tokens(8), torch.arange(8) % 2
    rows = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]
    model = get_peft_model(tiny_classifier("roberta"), config())
    before = state(model)
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    after = state(model)
    moved = {n for n, value in before.items() if not torch.equal(value, after[n])}
    assert moved == set(exchanged_parameters(model))


def test_a_core_learns_what_the_factors_can_express():
    ids = tokens()
    model = get_peft_model(tiny_classifier("llama"), config(target_modules="all-linear"))
    first = model(input_ids=ids, labels=LABELS).loss.item()
    train(model, ids, LABELS, steps=30)
    assert model(input_ids=ids, labels=LABELS).loss.item() < 0.5 * first
