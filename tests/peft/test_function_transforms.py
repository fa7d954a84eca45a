"""torch.func's transforms through our adapters: what they give through LoRA, they give here."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from fedtt.peft import BottleneckAdapterConfig, LoRAXSConfig, MetaTTConfig, TTAdapterConfig

CONFIGS = {
    "lora": LoraConfig(r=2, target_modules=["out"]),
    "tt": TTAdapterConfig(rank=2, bottleneck=8, bias=True, target_modules=["out"]),
    "lora-xs": LoRAXSConfig(r=2, target_modules=["out"]),
    "metatt": MetaTTConfig(rank=[3, 3, 2], target_modules=["hidden", "out"]),
    "adapter": BottleneckAdapterConfig(bottleneck=4, target_modules=["out"]),
}
Weights = dict[str, Tensor]


class Network(nn.Module):
    """Two linear layers, the second of which gets an adapter; ``x (..., 12) -> (..., 12)``."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"model_type": "two-layers"}
        self.hidden = nn.Linear(12, 24)
        self.out = nn.Linear(24, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x).tanh())


def prepared(name: str) -> tuple[PeftModel, Weights, Tensor]:
    """A model, values of what its adapter trains (none zero), and five examples ``(5, 3, 12)``."""
    torch.manual_seed(0)
    model = get_peft_model(Network(), CONFIGS[name]).double().eval()
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    weights = {n: torch.randn_like(p) * 0.3 for n, p in trained.items()}
    return model, weights, torch.randn(5, 3, 12, dtype=torch.float64)


def loss(model: PeftModel, weights: Weights, x: Tensor) -> Tensor:
    return functional_call(model, weights, (x,)).square().sum()


@pytest.mark.parametrize("name", CONFIGS)
def test_per_example_gradients_are_those_of_the_examples_one_by_one(name: str) -> None:
    model, weights, examples = prepared(name)
    found = vmap(grad(lambda w, x: loss(model, w, x)), in_dims=(None, 0))(weights, examples)
    for index, example in enumerate(examples):
        leaves = {n: w.clone().requires_grad_() for n, w in weights.items()}
        alone = torch.autograd.grad(loss(model, leaves, example), list(leaves.values()))
        torch.testing.assert_close([found[n][index] for n in leaves], list(alone))


@pytest.mark.parametrize("name", CONFIGS)
def test_an_ensemble_of_adapters_is_each_of_them(name: str) -> None:
    model, weights, examples = prepared(name)
    both = {n: torch.stack([w, -2 * w]) for n, w in weights.items()}
    found = vmap(lambda w: functional_call(model, w, (examples,)))(both)
    second = functional_call(model, {n: -2 * w for n, w in weights.items()}, (examples,))
    torch.testing.assert_close(found[1], second)


@pytest.mark.parametrize("name", CONFIGS)
def test_second_derivatives_are_those_of_finite_differences(name: str) -> None:
    model, weights, examples = prepared(name)
    leaves = [w.clone().requires_grad_() for w in weights.values()]

    def of(*values: Tensor) -> Tensor:
        return loss(model, dict(zip(weights, values, strict=True)), examples[0])

    assert torch.autograd.gradgradcheck(of, leaves)


# torch 2.13's own forward mode still compiles its formulas with torch.jit.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("name", CONFIGS)
def test_a_hessian_times_a_vector_forward_over_reverse(name: str) -> None:
    model, weights, examples = prepared(name)
    direction = {n: torch.randn_like(w) for n, w in weights.items()}
    gradient = grad(lambda w: loss(model, w, examples))
    _, found = jvp(gradient, (weights,), (direction,))
    step = 1e-6
    after, before = (
        gradient({n: w + sign * step * direction[n] for n, w in weights.items()})
        for sign in (1, -1)
    )
    for n in weights:
        torch.testing.assert_close(
            found[n], (after[n] - before[n]) / (2 * step), rtol=1e-5, atol=1e-5
        )
