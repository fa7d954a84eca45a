"""Transforms of torch.func, and second derivatives, through the fused residual."""

from collections.abc import Callable

import pytest
import torch
from tests.tt.test_tt_residual import fused, inputs, plain
from torch import Tensor
from torch.func import grad, hessian, jacrev, jvp, vmap

# torch 2.13's own forward mode still compiles its formulas with torch.jit.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
Residual = Callable[[Tensor, Tensor, Tensor], Tensor]


def loss(residual: Residual) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """A loss that weighs every entry differently, so that no transposed gradient passes."""

    def of(h: Tensor, left: Tensor, right: Tensor) -> Tensor:
        total = residual(h, left, right)
        weights = torch.arange(1.0, total.numel() + 1, dtype=total.dtype).reshape(total.shape)
        return (weights.cos() * total.square()).sum()

    return of


def detached(clients: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
    return tuple(tensor.detach() for tensor in inputs(clients))


@pytest.mark.parametrize("clients", [(), (3,)])
def test_second_derivatives(clients: tuple[int, ...]) -> None:
    assert torch.autograd.gradgradcheck(fused, inputs(clients))


@pytest.mark.parametrize("clients", [(), (3,)])
def test_functional_gradient(clients: tuple[int, ...]) -> None:
    given = detached(clients)
    found = grad(loss(fused), argnums=(0, 1, 2))(*given)
    torch.testing.assert_close(found, grad(loss(plain), argnums=(0, 1, 2))(*given))


def test_a_gradient_for_every_example() -> None:
    h, left, right = detached()
    examples = torch.stack([h, h.flip(0), 2 * h])
    found = vmap(grad(loss(fused), argnums=(1, 2)), in_dims=(0, None, None))(examples, left, right)
    for index, example in enumerate(examples):
        expected = grad(loss(plain), argnums=(1, 2))(example, left, right)
        torch.testing.assert_close(tuple(part[index] for part in found), expected)


def test_an_ensemble_with_matrices_of_its_own() -> None:
    h, left, right = detached()
    lefts, rights = torch.stack([left, -left]), torch.stack([right, 3 * right])
    found = vmap(fused, in_dims=(None, 0, 0))(h, lefts, rights)
    expected = torch.stack([plain(h, *pair) for pair in zip(lefts, rights, strict=True)])
    torch.testing.assert_close(found, expected)


@forward_mode
def test_forward_mode() -> None:
    given = detached()
    tangents = tuple(torch.randn_like(tensor) for tensor in given)
    torch.testing.assert_close(jvp(fused, given, tangents), jvp(plain, given, tangents))


@forward_mode
def test_hessian_and_jacobian_by_torch_func() -> None:
    h, left, right = detached()
    of = {residual: lambda x, r=residual: loss(r)(h, x, right) for residual in (fused, plain)}
    torch.testing.assert_close(hessian(of[fused])(left), hessian(of[plain])(left))
    torch.testing.assert_close(
        jacrev(lambda x: fused(h, x, right))(left), jacrev(lambda x: plain(h, x, right))(left)
    )
