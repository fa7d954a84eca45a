"""Trains of all layers contracted in one forward: the numbers of layer by layer, in fewer calls."""

import gc
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tiny_lm, tokens
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from fedtt.errors import ShapeError
from fedtt.federated.local.needed_logits import needed_logits
from fedtt.peft import TTAdapterConfig, TTLinear, contracted_together, stacked_forwards
from fedtt.peft.shared_contraction import shared_contraction, shared_sides

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

IDS = tokens(6, 5)


def classifier(**options: Any) -> PeftModel:
    """Of float64, and no core is zero."""
    config = TTAdapterConfig(task_type="SEQ_CLS", **{"rank": 2, "bottleneck": 8, **options})
    model = get_peft_model(tiny_classifier("bert"), config).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in trained(model).values():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if p.requires_grad}


def together(model: nn.Module, **inputs: Tensor) -> Any:
    with contracted_together(model):
        return model(**inputs)


def gradients(loss: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(values.values()))
    return dict(zip(values, found, strict=True))


class Calls(TorchDispatchMode):
    """Counts torch's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counted[func._schema.name] += 1
        return func(*args, **(kwargs or {}))


def calls_of(work: Callable[[], Any]) -> Counter[str]:
    with Calls() as calls:
        work()
    return calls.counted


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": True}, {"scaling": 0.5}, {"tensorize_classifier": True}, {"rank": 3}],
    ids=str,
)
def test_outputs_and_gradients_are_those_of_layer_by_layer(options: dict[str, Any]) -> None:
    model = classifier(**options)
    values = trained(model)
    weights = torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None]
    shared, apart = together(model, input_ids=IDS).logits, model(input_ids=IDS).logits
    torch.testing.assert_close(shared, apart)
    expected = gradients((weights * apart).sum(), values)
    for name, gradient in gradients((weights * shared).sum(), values).items():
        assert expected[name].abs().max() > 0, name
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("last_cores_only", [False, True])
def test_clients_cores_too_some_or_all_of_them(last_cores_only: bool) -> None:
    model = classifier(bias=True)
    names = [n for n in trained(model) if not last_cores_only or "core_2" in n]
    generator = torch.Generator().manual_seed(4)
    values = {
        name: torch.randn(
            3, *trained(model)[name].shape, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for name in names
    }
    with stacked_forwards(model, names):
        with contracted_together(model):  # as training does: outside of what puts the cores there
            shared = functional_call(model, values, kwargs={"input_ids": IDS}).logits
        apart = functional_call(model, values, kwargs={"input_ids": IDS}).logits
    torch.testing.assert_close(shared, apart)
    expected = gradients(apart.square().sum(), values)
    for name, gradient in gradients(shared.square().sum(), values).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_rows_that_clients_do_not_share_equally_are_refused() -> None:
    model = classifier()
    values = {
        name: torch.zeros(4, *parameter.shape, dtype=torch.float64)
        for name, parameter in trained(model).items()
        if "core_" in name
    }
    with contracted_together(model), pytest.raises(ShapeError, match="equally many"):
        functional_call(model, values, kwargs={"input_ids": IDS})


def test_a_training_step_takes_no_calls_for_each_layers_cores() -> None:
    model = classifier(bias=False)
    layers = [module for module in model.modules() if isinstance(module, TTLinear)]
    assert len(layers) == 8  # two blocks, two adapters, Down and Up
    batch = {"input_ids": IDS, "labels": IDS[:, 0]}

    def step() -> None:
        needed_logits(model, batch)[0].sum().backward()

    shared = calls_of(step)
    apart = calls_of(lambda: model(input_ids=IDS).logits.sum().backward())
    products = [calls["aten::mm"] + calls["aten::bmm"] for calls in (shared, apart)]
    inner = sum(layer.shape.num_cores - 2 for layer in layers)  # products that make both sides
    shapes = sum({layer.shape: layer.shape.num_cores - 2 for layer in layers}.values())
    assert products[1] - products[0] == 3 * (inner - shapes)  # one forward, two backward


def test_nothing_is_left_after_a_forward_or_its_failure() -> None:
    model = classifier()
    layer = next(module for module in model.modules() if isinstance(module, TTLinear))
    together(model, input_ids=IDS)
    assert shared_sides(layer, torch.float64) is None
    with pytest.raises(IndexError):
        together(model, input_ids=IDS + 10**6)
    assert shared_sides(layer, torch.float64) is None


def test_cores_that_changed_since_the_last_forward_are_seen() -> None:
    model = classifier()
    before = together(model, input_ids=IDS).logits
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.mul_(2)
    after = together(model, input_ids=IDS).logits
    torch.testing.assert_close(after, model(input_ids=IDS).logits)
    assert not torch.equal(after, before)


def test_layers_of_several_types_and_layers_apart_each_get_their_own() -> None:
    model = classifier()
    shape = next(module for module in model.modules() if isinstance(module, TTLinear)).shape
    layers = [TTLinear(shape, std=1.0), TTLinear(shape, std=1.0).double(), TTLinear(shape, std=1.0)]
    with shared_contraction(layers):
        for layer in layers:
            for dtype in (torch.float64, torch.float32):
                x = torch.zeros(1, shape.in_features, dtype=dtype)
                sides = shared_sides(layer, dtype)
                assert sides is not None
                assert {side.dtype for side in sides} == {dtype}
                dense = layer(torch.eye(shape.in_features, dtype=dtype))
                torch.testing.assert_close(sides[0] @ sides[1], dense, rtol=1e-4, atol=1e-5)
                assert layer.sides(x)[0] is sides[0]
        assert shared_sides(TTLinear(shape, std=1.0), torch.float32) is None


def test_frozen_layers_stay_out_of_the_backward() -> None:
    model = classifier()
    layers = [module for module in model.modules() if isinstance(module, TTLinear)]
    layers[0].requires_grad_(requires_grad=False)
    with contracted_together(model):
        sides = [layer.sides(torch.zeros(1, layer.shape.in_features)) for layer in layers]
    assert [side.requires_grad for side in sides[0]] == [False, False]
    assert all(side.requires_grad for own in sides[1:] for side in own)


def test_a_part_without_gradients_does_not_take_them_from_the_rest() -> None:
    model = classifier()
    first, *others = (module for module in model.modules() if isinstance(module, TTLinear))
    with contracted_together(model):
        with torch.no_grad():
            first.sides(torch.zeros(1, first.shape.in_features))
        assert all(
            side.requires_grad
            for layer in others
            for side in layer.sides(torch.zeros(1, layer.shape.in_features))
        )


def test_an_adapter_that_is_not_active_is_not_contracted() -> None:
    model = classifier()
    model.add_adapter("other", TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8))
    model.double()
    model.set_adapter("default")
    together(model, input_ids=IDS).logits.sum().backward()
    cores = {n: p for n, p in model.named_parameters() if "core_" in n}
    assert {name for name, core in cores.items() if core.grad is not None} == {
        name for name in cores if ".default." in name
    }
    with model.disable_adapter():
        assert calls_of(lambda: together(model, input_ids=IDS))["aten::stack"] == 0


def test_where_gradients_are_off_every_layer_contracts_its_own() -> None:
    model = classifier()
    with torch.no_grad():
        assert calls_of(lambda: together(model, input_ids=IDS))["aten::stack"] == 0
    assert calls_of(lambda: together(model, input_ids=IDS))["aten::stack"] > 0


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_model_is_forgotten_with_its_last_owner(wrapped: bool) -> None:
    config = TTAdapterConfig(task_type="FEATURE_EXTRACTION", rank=2, bottleneck=8)
    peft_model = get_peft_model(tiny_classifier("bert").bert, config)
    model = peft_model if wrapped else peft_model.get_base_model()  # which can recompute itself
    together(model, input_ids=IDS)
    alive = weakref.ref(model)
    del model, peft_model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_forwards_have_the_same_gradients(reentrant: bool) -> None:
    torch.manual_seed(0)
    config = TTAdapterConfig(task_type="CAUSAL_LM", rank=2, bottleneck=8)
    model = get_peft_model(tiny_lm(), config).train()
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    values = trained(model)
    expected = gradients(together(model, input_ids=IDS, labels=IDS).loss, values)
    model.activation_checkpointing_enable({"use_reentrant": reentrant})  # after its first use
    model.enable_input_require_grads()
    model.zero_grad()
    together(model, input_ids=IDS, labels=IDS).loss.backward()
    for name, parameter in values.items():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


WHOLE = """
import torch
from peft import get_peft_model
from tests.peft.tiny_architectures import tiny_classifier, tokens
from fedtt.peft import TTAdapterConfig, contracted_together

config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8, init_weights=False)
model = get_peft_model(tiny_classifier("bert"), config).double()
ids = tokens(6, 5)
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
results = []
for forward in (model, compiled):
    model.zero_grad()
    with contracted_together(model):
        logits = forward(input_ids=ids).logits
    logits.square().sum().backward()
    results.append([logits, *(p.grad for p in model.parameters() if p.requires_grad)])
for own, other in zip(*results, strict=True):
    torch.testing.assert_close(own, other)
"""


@pytest.mark.slow
def test_a_compiler_sees_the_whole_forward() -> None:
    """In a process of its own: it cannot look through the shape checks of the tests."""
    ran = subprocess.run(
        [sys.executable, "-c", WHOLE],
        check=False,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
