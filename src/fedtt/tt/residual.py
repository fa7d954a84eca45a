"""``h + f(h L) R`` with the sums inside the products, forward and backward.

``L (M, r)`` and ``R (r, M)`` are thin, so an adapter's time is that of reading and writing ``h``.
Written as separate operations, the residual sum and the sum of its two gradients cost as much as
the products; here they are part of them. Products are written so that ``r`` is the first dimension
of a factor or of the result: BLAS kernels are slow where it is the last of a wide one.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def open_residual(
    h: Float[Tensor, "*clients n M"], left: Float[Tensor, "*clients M r"]
) -> tuple[Float[Tensor, "*clients n M"], Float[Tensor, "*clients r n"]]:
    """``h`` again, for :func:`close_residual`, and ``(h L)^T``.

    With a client dimension every client's rows meet its own matrix.
    """
    if torch.compiler.is_compiling():  # a compiler cannot follow functions, and joins sums itself
        return h, _thin(h, left)
    same, thin = _Open.apply(h, left)  # type: ignore[no-untyped-call]
    return same, thin


def close_residual(
    h: Float[Tensor, "*clients n M"],
    thin: Float[Tensor, "*clients r n"],
    right: Float[Tensor, "*clients r M"],
) -> Float[Tensor, "*clients n M"]:
    """``h + thin^T R``."""
    if torch.compiler.is_compiling():
        return _add_product(h, thin.mT, right)
    total: Tensor = _Close.apply(h, thin, right)  # type: ignore[no-untyped-call]
    return total


class _Open(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        return h.view_as(h), _thin(h, left)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:  # noqa: ARG004 (torch's signature)
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, of_h: Tensor, of_thin: Tensor) -> tuple[Tensor | None, Tensor | None]:
        h, left = ctx.saved_tensors
        of_input = _add_product(of_h, of_thin.mT, left.mT) if ctx.needs_input_grad[0] else None
        of_left = _multiply(of_thin, h).mT if ctx.needs_input_grad[1] else None
        return of_input, of_left

    @staticmethod
    def jvp(ctx: Any, h_dot: Tensor, left_dot: Tensor) -> tuple[Tensor, Tensor]:
        h, left = ctx.saved_tensors
        return h_dot.view_as(h_dot), _multiply(left_dot.mT, h.mT) + _multiply(left.mT, h_dot.mT)


class _Close(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, thin: Tensor, right: Tensor) -> Tensor:
        return _add_product(h, thin.mT, right)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Any) -> None:  # noqa: ARG004 (torch's signature)
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        thin, right = ctx.saved_tensors
        of_thin = _multiply(right, of_sum.mT) if ctx.needs_input_grad[1] else None
        of_right = _multiply(thin, of_sum) if ctx.needs_input_grad[2] else None
        return of_sum, of_thin, of_right

    @staticmethod
    def jvp(ctx: Any, h_dot: Tensor, thin_dot: Tensor, right_dot: Tensor) -> Tensor:
        thin, right = ctx.saved_tensors
        return _add_product(_add_product(h_dot, thin_dot.mT, right), thin.mT, right_dot)


def _thin(h: Tensor, left: Tensor) -> Tensor:
    return _multiply(left.mT.contiguous(), h.mT)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return torch.bmm(a, b) if a.ndim == 3 else torch.mm(a, b)


def _add_product(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.baddbmm(c, a, b) if a.ndim == 3 else torch.addmm(c, a, b)
