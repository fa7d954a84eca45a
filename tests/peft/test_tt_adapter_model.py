import math

import pytest
import torch
from peft import get_peft_model
from tests.peft.tiny_architectures import (
    PEFT_WARNING,
    logits,
    tiny_classifier,
    tiny_lm,
    tokens,
    train,
)
from torch import nn
from torch.func import functional_call

from fedtt.peft import (
    TTAdapterConfig,
    TTAdapterLayer,
    TTDenseLayer,
    TTLinear,
    exchanged_parameters,
)
from fedtt.tt import to_dense

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def config(**overrides):
    values = {"rank": 2, "bottleneck": 8, "task_type": "CAUSAL_LM", "init_weights": False}
    return TTAdapterConfig(**{**values, **overrides})


def adapters(model):
    return [m for m in model.modules() if isinstance(m, TTAdapterLayer)]


def dense(layer):
    return to_dense(layer.cores, split=layer.shape.split)


# What an adapter computes


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("gelu", torch.nn.functional.gelu),
        ("relu", torch.relu),
        ("silu", torch.nn.functional.silu),
        ("tanh", torch.tanh),
    ],
)
def test_an_adapter_is_the_formula_on_dense_matrices(activation, function):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(10, 12))
    options = config(
        activation=activation, scaling=0.7, bias=True, target_modules=["0"], task_type=None
    )
    model = get_peft_model(base, options)
    layer = model.base_model.model[0]
    down, up = layer.tt_adapter_down["default"], layer.tt_adapter_up["default"]
    nn.init.normal_(down.bias)
    nn.init.normal_(up.bias)
    x = torch.randn(5, 10)
    h = layer.base_layer(x)
    expected = h + 0.7 * (function(h @ dense(down) + down.bias) @ dense(up) + up.bias)
    torch.testing.assert_close(model(x), expected)


def test_up_is_the_mirror_image_of_down():
    base = nn.Sequential(nn.Linear(10, 12))
    ranks = (1, 2, 3, 4, 1)
    options = config(rank=ranks, in_modes=(2, 6), out_modes=(2, 4), target_modules=["0"])
    options.task_type = None
    layer = get_peft_model(base, options).base_model.model[0]
    down, up = layer.tt_adapter_down["default"].shape, layer.tt_adapter_up["default"].shape
    assert (down.in_modes, down.out_modes, down.ranks) == ((2, 6), (2, 4), ranks)
    assert (up.in_modes, up.out_modes, up.ranks) == ((4, 2), (6, 2), ranks[::-1])


def test_dropout_acts_between_the_layers_and_only_in_training():
    model = get_peft_model(tiny_lm(), config(dropout=0.5))
    ids = tokens()
    assert torch.equal(logits(model, ids), logits(model, ids))
    model.train()
    assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_the_matrices_start_with_the_standard_deviation_of_a_linear_layer():
    torch.manual_seed(0)
    base = nn.Sequential(*(nn.Linear(24, 24) for _ in range(400)))
    targets = r"\d+"
    model = get_peft_model(base, config(rank=3, target_modules=targets, task_type=None))
    for part, inputs in (("tt_adapter_down", 24), ("tt_adapter_up", 8)):
        squares = torch.stack(
            [dense(getattr(layer, part)["default"]).square().mean() for layer in adapters(model)]
        )
        error = squares.std() / math.sqrt(len(squares))
        assert error < 0.05 / inputs
        assert abs(squares.mean() - 1 / inputs) < 4 * error


def test_the_tensorized_classifier_starts_at_the_base_models_initializer_range():
    squares = []
    for seed in range(150):
        with torch.device("meta"):
            base = tiny_classifier(
                "roberta", seed=seed, num_hidden_layers=1, initializer_range=0.05
            )
        base.classifier.to_empty(device="cpu")
        model = get_peft_model(
            base, TTAdapterConfig(rank=3, bottleneck=8, tensorize_classifier=True)
        )
        layer = next(m for m in model.modules() if isinstance(m, TTDenseLayer))
        squares.append(dense(layer.tt_adapter_dense["default"]).square().mean())
    squares = torch.stack(squares)
    error = squares.std() / math.sqrt(len(squares))
    assert error < 0.2 * 0.05**2
    assert abs(squares.mean() - 0.05**2) < 4 * error


# Training


def test_a_zeroed_core_trains_alone_once_then_every_core_trains():
    """Trap 1 of the method: the identity start costs one step."""
    model = get_peft_model(tiny_lm(), config(init_weights=True, bias=True))
    ids = tokens()
    names = list(exchanged_parameters(model))
    last = max(int(n[-1]) for n in names if ".tt_adapter_up." in n and "core_" in n)

    def with_gradient():
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return {n for n in names if model.get_parameter(n).grad.any()}

    up_ends = {n for n in names if n.endswith((f"tt_adapter_up.default.core_{last}",))}
    up_biases = {n for n in names if n.endswith("tt_adapter_up.default.bias")}
    assert with_gradient() == up_ends | up_biases
    train(model, ids, ids, steps=1)
    assert with_gradient() == set(names)


def test_cores_are_direct_parameters_of_the_module_that_uses_them():
    model = get_peft_model(tiny_lm(), config(bias=True))
    for name in exchanged_parameters(model):
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        assert isinstance(module, TTLinear)
        assert leaf in dict(module.named_parameters(recurse=False))


def test_three_stacked_clients_are_three_models():
    """One functional_call on stacked cores: the logits and the gradients of each client alone."""
    model = get_peft_model(tiny_lm(), config(bias=True)).double()
    names = list(exchanged_parameters(model))
    generator = torch.Generator().manual_seed(3)
    clients = [
        {
            name: (
                p.detach() + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
            ).requires_grad_()
            for name, p in model.named_parameters()
            if name in names
        }
        for _ in range(3)
    ]
    ids = tokens(6)
    stacked = {
        name: torch.stack([params[name].detach() for params in clients]).requires_grad_()
        for name in names
    }
    together = functional_call(model, stacked, kwargs={"input_ids": ids}).logits
    apart = [
        functional_call(model, params, kwargs={"input_ids": part}).logits
        for params, part in zip(clients, ids.split(2), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(apart))
    sum(part.square().mean() for part in together.split(2)).backward()
    for part in apart:
        part.square().mean().backward()
    for name in names:
        alone = torch.stack([params[name].grad for params in clients])
        torch.testing.assert_close(stacked[name].grad, alone)


def test_gradient_checkpointing_changes_nothing():
    ids, gradients = tokens(), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = get_peft_model(tiny_lm(), config()).train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model(input_ids=ids, labels=ids).loss.backward()
        gradients.append([model.get_parameter(n).grad for n in exchanged_parameters(model)])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)
