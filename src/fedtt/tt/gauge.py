"""The gauge of a tensor train: which of the many sets of cores stands for its matrix.

Between two neighbouring cores any invertible matrix and its inverse can be put without changing
the train. Training notices: an optimizer moves coordinates, and a rounded train comes out with
orthonormal cores and all of its size in the last one.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fedtt.errors import ShapeError
from fedtt.tt.cores import check_cores

# A change of gauge with a larger condition number would cost more digits than float32 has to give.
MAX_CONDITION = 1e3


def tt_align(
    cores: Sequence[Float[Tensor, "_left _mode _right"]],
    *,
    like: Sequence[Float[Tensor, "_left _mode _right"]],
) -> list[Float[Tensor, "_left _mode _right"]]:
    """The same train with cores as near to those of ``like`` as one left-to-right sweep brings.

    At every bond the least-squares change of gauge towards ``like`` is taken; where that is
    singular or ill-conditioned, the nearest orthogonal one times a scale. The product stays the
    same up to rounding in float64. ``like`` has the same shapes.

    Raises:
        ShapeError: cores that do not form a train, or other shapes than ``like``.
    """
    for train in (cores, like):
        check_cores(train, where="tt_align")
    shapes, wanted = ([tuple(core.shape) for core in train] for train in (cores, like))
    if shapes != wanted:
        raise ShapeError("only equal shapes align", where="tt_align", got=shapes, expected=wanted)
    aligned, carry = [], torch.ones(1, 1, dtype=torch.float64)
    for core, target in zip(cores[:-1], like[:-1], strict=True):
        whole = torch.tensordot(carry, core.detach().to(torch.float64), dims=1)
        change = _change_of_gauge(whole.flatten(0, 1), target.detach().double().flatten(0, 1))
        aligned.append(torch.tensordot(whole, change, dims=1))
        carry = torch.linalg.inv(change)
    return [*aligned, torch.tensordot(carry, cores[-1].detach().to(torch.float64), dims=1)]


def _change_of_gauge(core: Tensor, target: Tensor) -> Tensor:
    """Invertible ``M (r, r)`` that brings ``core M`` near ``target``, both ``(rows, r)``."""
    change: Tensor = torch.linalg.pinv(core) @ target
    left, values, right = torch.linalg.svd(change)
    if values[-1] * MAX_CONDITION > values[0]:
        return change
    rotation: Tensor = left @ right
    size = torch.linalg.vector_norm(core)
    scale = torch.linalg.vector_norm(target) / size if size > 0 else size.new_ones(())
    return rotation * (scale if scale > 0 else 1.0)
