"""Products of 16-bit numbers in float32, on a CPU that has no instructions for 16 bits.

PyTorch then multiplies number by number, some hundred times as slowly as in float32
(``benchmarks/wide_products.py``). Here a block of the weights at a time becomes float32 for the
duration of its product, so a model keeps its size. What comes out is what such instructions give:
sums in float32, rounded once.
"""

import time
from functools import cache, reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes
from transformers.pytorch_utils import Conv1D

NARROW = frozenset({torch.bfloat16, torch.float16})
# As slowly as float32, or this many times: without instructions it is from six to some hundred.
SLOW = 3.0
TURNS = 7
BLOCK = 2**22  # weights that are float32 at once: 16 MiB
# Fewer rows than this, as when a text is written token by token, meet a weight only that often: to
# convert it would take longer than PyTorch's own product of a row, which is a fast one.
FEW = 4


def multiplies_slowly(dtype: torch.dtype) -> bool:
    """Whether the CPU multiplies in this 16-bit type ``SLOW`` times as slowly as in float32.

    False of any other type.
    """
    return dtype in NARROW and share_of_float32_time(dtype) >= SLOW


@cache
def share_of_float32_time(dtype: torch.dtype) -> float:
    """Time of a product in a 16-bit type, as a share of its time in float32; 256 rows, 768 wide."""
    best = dict.fromkeys((torch.float32, dtype), float("inf"))
    # Real products, even if a model is just being measured with tensors that have no values.
    with _disable_current_modes(), torch.autocast("cpu", enabled=False):
        pairs = {
            kind: [torch.zeros(rows, 768, dtype=kind, device="cpu") for rows in (256, 768)]
            for kind in best
        }
        for turn in range(TURNS):  # in turns, and the fastest counts: other work weighs on both
            for kind, (rows, weight) in pairs.items():
                began = time.perf_counter()
                functional.linear(rows, weight)
                best[kind] = min(best[kind], time.perf_counter() - began)
            # The first turn prepares kernels; what is this slow need not be known to the digit.
            if turn >= 1 and best[dtype] > 2 * SLOW * best[torch.float32]:
                break
    return best[dtype] / best[torch.float32]


def linear(
    x: Float[Tensor, "*rows M"],
    weight: Float[Tensor, "N M"],
    bias: Float[Tensor, "N"] | None = None,
) -> Float[Tensor, "*rows N"]:
    """``torch.nn.functional.linear``, in float32 where the CPU multiplies ``x``'s type slowly."""
    alike = x.device.type == "cpu" and x.dtype == weight.dtype
    if not (alike and multiplies_slowly(x.dtype)):
        return functional.linear(x, weight, bias)
    trains = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if not trains and x.shape[:-1].numel() < FEW:
        return functional.linear(x, weight, bias)
    if weight.requires_grad:
        product = functional.linear(x.float(), weight.float())
    else:
        product = _FrozenProduct.apply(x, weight)  # type: ignore[no-untyped-call]
    return (product if bias is None else product + bias).to(x.dtype)


class WideLinear(nn.Linear):
    """A linear layer that multiplies by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """``(..., in_features)`` to ``(..., out_features)``."""
        return linear(input, self.weight, self.bias)


class WideConv1D(Conv1D):  # type: ignore[misc]
    """GPT-2's linear layer, whose weight lies the other way round; multiplies alike."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., nx)`` to ``(..., nf)``."""
        return linear(x, self.weight.mT, self.bias)


WIDE: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: WideLinear, Conv1D: WideConv1D}


def widen_products(model: nn.Module) -> None:
    """Let the linear layers of ``model``, which it changes, multiply by :func:`linear`.

    Names, parameters and what is saved stay as they are. A layer of a kind of its own (quantized, a
    mixture's experts) stays too.
    """
    for module in model.modules():
        module.__class__ = WIDE.get(type(module), type(module))


class _FrozenProduct(torch.autograd.Function):
    """``x W^T`` in float32, which keeps for its backward only ``W`` as it is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()
        parts = [functional.linear(wide, block.float()) for block in _blocks(weight)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        x, weight = inputs
        ctx.save_for_backward(weight)
        ctx.dtype = x.dtype

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weight,), (grad,) = ctx.saved_tensors, grads
        blocks = _blocks(weight)
        parts = grad.split([len(block) for block in blocks], dim=-1)
        products = (part @ block.float() for part, block in zip(parts, blocks, strict=True))
        return reduce(torch.add, products).to(ctx.dtype), None


def _blocks(weight: Tensor) -> tuple[Tensor, ...]:
    """The rows of ``weight``, so many at a time that they are about ``BLOCK`` numbers."""
    blocks: tuple[Tensor, ...] = weight.split(max(1, BLOCK // max(1, weight.shape[-1])))
    return blocks
