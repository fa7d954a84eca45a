"""Trains of all layers contracted in one forward: the numbers of layer by layer, in fewer calls."""

import subprocess
import sys
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

from fedtt.peft import TTAdapterConfig, TTLinear, stacked_forwards
from fedtt.peft.contracted_together import contracted_together, sides_together

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


def own_base(model: PeftModel, name: str) -> str:
    """The name of a parameter in the model inside, which contracts layer by layer."""
    return name.removeprefix("base_model.model.")


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
    inside = model.get_base_model()
    values = trained(model)
    weights = torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None]
    together = model(input_ids=IDS).logits
    apart = inside(input_ids=IDS).logits
    torch.testing.assert_close(together, apart)
    expected = gradients((weights * apart).sum(), values)
    for name, gradient in gradients((weights * together).sum(), values).items():
        assert expected[name].abs().max() > 0, name
        torch.testing.assert_close(gradient, expected[name], msg=name)


@pytest.mark.parametrize("last_cores_only", [False, True])
def test_clients_cores_too_some_or_all_of_them(last_cores_only: bool) -> None:
    model = classifier(bias=True)
    names = [n for n in trained(model) if not last_cores_only or "core_2" in n]
    generator = torch.Generator().manual_seed(4)
    values = {
        name: (
            parameter + torch.randn(3, *parameter.shape, generator=generator, dtype=torch.float64)
        )
        .detach()
        .requires_grad_()
        for name, parameter in trained(model).items()
        if name in names
    }
    inside = model.get_base_model()
    with stacked_forwards(model, names):
        together = functional_call(model, values, kwargs={"input_ids": IDS}).logits
        named = {own_base(model, name): value for name, value in values.items()}
        apart = functional_call(inside, named, kwargs={"input_ids": IDS}).logits
    torch.testing.assert_close(together, apart)
    expected = gradients(apart.square().sum(), values)
    for name, gradient in gradients(together.square().sum(), values).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)


def test_a_core_takes_no_call_of_its_own_in_each_layer() -> None:
    model = classifier(bias=False)
    inside = model.get_base_model()
    layers = [module for module in model.modules() if isinstance(module, TTLinear)]
    assert len(layers) == 8  # two blocks, two adapters, Down and Up

    def step(forward: Callable[..., Any]) -> Callable[[], None]:
        return lambda: forward(input_ids=IDS).logits.sum().backward()

    together, apart = calls_of(step(model)), calls_of(step(inside))
    products = [
        sum(calls[f"aten::{name}"] for name in ("mm", "bmm")) for calls in (together, apart)
    ]
    inner = sum(layer.shape.num_cores - 2 for layer in layers)  # products that make both sides
    shapes = sum({layer.shape: layer.shape.num_cores - 2 for layer in layers}.values())
    assert products[1] - products[0] == 3 * (inner - shapes)  # one forward, two backward


def test_nothing_is_left_after_a_forward_or_its_failure() -> None:
    model = classifier()
    layer = next(module for module in model.modules() if isinstance(module, TTLinear))
    model(input_ids=IDS)
    assert sides_together(layer, torch.float64) is None
    with pytest.raises(IndexError):
        model(input_ids=IDS + 10**6)
    assert sides_together(layer, torch.float64) is None


def test_cores_that_changed_since_the_last_forward_are_seen() -> None:
    model = classifier()
    before = model(input_ids=IDS).logits
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.mul_(2)
    torch.testing.assert_close(
        model(input_ids=IDS).logits, model.get_base_model()(input_ids=IDS).logits
    )
    assert not torch.equal(model(input_ids=IDS).logits, before)


def test_layers_of_several_shapes_and_types_each_get_their_own() -> None:
    model = classifier()
    shape = next(module for module in model.modules() if isinstance(module, TTLinear)).shape
    layers = [TTLinear(shape, std=1.0), TTLinear(shape, std=1.0).double(), TTLinear(shape, std=1.0)]
    with contracted_together(layers):
        for layer in layers:
            for dtype in (torch.float64, torch.float32):
                x = torch.zeros(1, shape.in_features, dtype=dtype)
                sides = sides_together(layer, dtype)
                assert sides is not None
                assert {side.dtype for side in sides} == {dtype}
                product = sides[0] @ sides[1]
                dense = layer(torch.eye(shape.in_features, dtype=dtype))
                torch.testing.assert_close(product, dense, rtol=1e-4, atol=1e-5)
                assert layer.sides(x)[0] is sides[0]
        assert sides_together(TTLinear(shape, std=1.0), torch.float32) is None


def test_an_adapter_that_is_not_active_is_not_contracted() -> None:
    model = classifier()
    config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8)
    model.add_adapter("other", config)
    model.double()
    used = trained(model)
    model.set_adapter("default")
    model(input_ids=IDS).logits.sum().backward()
    cores = {name for name in used if "core_" in name}
    assert cores
    assert all(model.get_parameter(name).grad is not None for name in cores)
    others = [p for n, p in model.named_parameters() if ".other." in n]
    assert others
    assert all(parameter.grad is None for parameter in others)
    with model.disable_adapter():
        counted = calls_of(lambda: model(input_ids=IDS))
    assert counted["aten::stack"] == 0


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputed_forwards_have_the_same_gradients(reentrant: bool) -> None:
    torch.manual_seed(0)
    config = TTAdapterConfig(task_type="CAUSAL_LM", rank=2, bottleneck=8)
    model = get_peft_model(tiny_lm(), config).train()
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    values = trained(model)
    expected = gradients(model(input_ids=IDS, labels=IDS).loss, values)
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model.zero_grad()
    model(input_ids=IDS, labels=IDS).loss.backward()
    for name, parameter in values.items():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


WHOLE = """
import torch
from peft import get_peft_model
from tests.peft.tiny_architectures import tiny_classifier, tokens
from fedtt.peft import TTAdapterConfig

config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8, init_weights=False)
model = get_peft_model(tiny_classifier("bert"), config).double()
ids = tokens(6, 5)
compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
results = []
for forward in (model, compiled):
    model.zero_grad()
    logits = forward(input_ids=ids).logits
    logits.square().sum().backward()
    results.append([logits, *(p.grad for p in model.parameters() if p.requires_grad)])
for own, other in zip(*results, strict=True):
    torch.testing.assert_close(own, other)
"""


@pytest.mark.slow
def test_a_compiler_sees_the_whole_forward() -> None:
    """In a process of its own: it cannot look through the shape checks of the tests."""
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", WHOLE],
        check=False,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
