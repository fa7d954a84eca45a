"""Sums and low-rank approximation of tensor trains: TT-SVD and TT-rounding.

Follows Oseledets, "Tensor-Train Decomposition" (SIAM J. Sci. Comput. 33(5), 2011), algorithms 1
and 2. Decompositions run in float64 whatever the cores' dtype, and outside autograd.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from fedtt.errors import DivergenceError, ShapeError
from fedtt.tt.cores import check_cores
from fedtt.tt.modes import format_product
from fedtt.tt.shapes import TTShape, check_ranks


def tt_svd(
    matrix: Float[Tensor, "M N"], shape: TTShape
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Approximate ``matrix`` by cores of exactly ``shape``.

    ``|matrix - dense| <= sqrt(d - 1) * best`` in the Frobenius norm, ``best`` being the smallest
    error of any train of these ranks; exact where no rank is below that of its unfolding. Bonds
    wider than their unfolding are padded with zeros.

    Raises:
        ShapeError: ``matrix`` is not ``in_features x out_features``.
        DivergenceError: values that are not finite.
    """
    if matrix.shape != (shape.in_features, shape.out_features):
        raise ShapeError(
            "the matrix does not match the modes",
            where="tt_svd",
            got=tuple(matrix.shape),
            expected=f"in_modes {format_product(shape.in_modes)}, "
            f"out_modes {format_product(shape.out_modes)}",
        )
    _check_finite([matrix], where="tt_svd")
    rest = matrix.detach().to(torch.float64)
    cores, left = [], 1
    for mode, rank in zip(shape.modes[:-1], shape.ranks[1:-1], strict=True):
        basis, rest = _truncate(rest.reshape(left * mode, -1), rank)
        cores.append(basis.reshape(left, mode, -1))
        left = basis.shape[-1]
    cores.append(rest.reshape(left, shape.modes[-1], 1))
    return _pad_ranks(cores, shape.ranks, dtype=matrix.dtype)


def tt_round(
    cores: Sequence[Float[Tensor, "_left _mode _right"]], *, ranks: Sequence[int]
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Approximate a train by one of exactly ``ranks`` (all of them, the boundary 1s included).

    A right-to-left QR sweep makes every core but the first right-orthonormal, so that each
    truncated SVD of the left-to-right sweep cuts singular values of the train's own unfolding:
    ``|train - rounded| <= sqrt(d - 1) * best`` in the Frobenius norm. The dense tensor is never
    formed; the cost is ``O(d k r^3)``. All cores but the last come out left-orthonormal, also
    for the zero train. Ranks above those a train can use are padded with zeros.

    Raises:
        ShapeError: cores that do not form a train, with a client dimension, or ``ranks`` that are
            not those of such a train.
        DivergenceError: values that are not finite.
    """
    _check_train(cores, where="tt_round")
    check_ranks(ranks, num_cores=len(cores), where="tt_round")
    _check_finite(cores, where="tt_round")
    work = _orthogonalize_right([core.detach().to(torch.float64) for core in cores])
    rounded, carry = [], work[0].new_ones(1, 1)
    for core, rank in zip(work[:-1], ranks[1:-1], strict=True):
        whole = torch.tensordot(carry, core, dims=1)  # (r_{j-1}, k_j, R_j)
        basis, carry = _truncate(whole.flatten(0, 1), rank)
        rounded.append(basis.reshape(*whole.shape[:2], -1))
    rounded.append(torch.tensordot(carry, work[-1], dims=1))
    return _pad_ranks(rounded, ranks, dtype=cores[0].dtype)


def tt_add(
    first: Sequence[Float[Tensor, "_left _mode _right"]],
    second: Sequence[Float[Tensor, "_left _mode _right"]],
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Exact sum of two trains of the same modes: inner ranks add. Differentiable.

    Inner cores are block-diagonal in the two rank dimensions; the first is ``[A B]``, the last
    ``[A; B]``.

    Raises:
        ShapeError: cores that do not form a train, with a client dimension, or different modes.
    """
    for cores in (first, second):
        _check_train(cores, where="tt_add")
    modes = [tuple(core.shape[1] for core in cores) for cores in (first, second)]
    if modes[0] != modes[1]:
        raise ShapeError(
            "only trains of the same modes can be added",
            where="tt_add",
            got=format_product(modes[1]),
            expected=format_product(modes[0]),
        )
    if len(first) == 1:
        return [first[0] + second[0]]
    inner = [_stack_diagonal(a, b) for a, b in zip(first[1:-1], second[1:-1], strict=True)]
    return [
        torch.cat([first[0], second[0]], dim=2),
        *inner,
        torch.cat([first[-1], second[-1]], dim=0),
    ]


def tt_sum(
    trains: Sequence[Sequence[Float[Tensor, "_left _mode _right"]]],
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Exact sum of one or more trains of the same modes: inner ranks add. Differentiable.

    Raises:
        ShapeError: no train, cores that do not form a train, or different modes.
    """
    if not trains:
        raise ShapeError("a sum needs at least one train", where="tt_sum", got="none")
    _check_train(trains[0], where="tt_sum")
    return reduce(tt_add, trains[1:], list(trains[0]))


def tt_compress(
    cores: Sequence[Float[Tensor, "_left _mode _right"]], *, tolerance: float = 1e-13
) -> list[Float[Tensor, "_left _mode _right"]]:
    """The same train in float64 with no more ranks than it needs.

    Singular values up to ``tolerance`` times the largest of their unfolding are dropped, so the
    default loses only rounding errors. Ranks are then at most the smaller side of each unfolding,
    however many trains were added up.

    Raises:
        ShapeError: cores that do not form a train.
        DivergenceError: values that are not finite.
    """
    _check_train(cores, where="tt_compress")
    _check_finite(cores, where="tt_compress")
    work = _orthogonalize_right([core.detach().to(torch.float64) for core in cores])
    compressed, carry = [], work[0].new_ones(1, 1)
    for core in work[:-1]:
        whole = torch.tensordot(carry, core, dims=1)  # (r_{j-1}, k_j, R_j)
        left, values, right = torch.linalg.svd(whole.flatten(0, 1), full_matrices=False)
        rank = max(1, int((values > tolerance * values[0]).sum()))
        compressed.append(left[:, :rank].reshape(*whole.shape[:2], rank))
        carry = values[:rank, None] * right[:rank]
    return [*compressed, torch.tensordot(carry, work[-1], dims=1)]


def tt_distance(
    first: Sequence[Float[Tensor, "_left _mode _right"]],
    second: Sequence[Float[Tensor, "_left _mode _right"]],
) -> float:
    """Frobenius norm of the difference of two trains of the same modes, without forming it.

    From a QR sweep, not from inner products, so a small distance keeps its digits.

    Raises:
        ShapeError: cores that do not form a train, or different modes.
    """
    difference = tt_add(
        [core.detach().to(torch.float64) for core in first],
        tt_scale([core.detach().to(torch.float64) for core in second], -1.0),
    )
    return float(torch.linalg.vector_norm(_orthogonalize_right(difference)[0]))


def tt_scale(
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]], factor: float
) -> list[Float[Tensor, "*clients _left _mode _right"]]:
    """Multiply a train by ``factor``: a train is linear in each core, so the last takes it all.

    Cores may have a leading client dimension. Differentiable.

    Raises:
        ShapeError: cores that do not form a train.
    """
    check_cores(cores, where="tt_scale")
    return [*cores[:-1], cores[-1] * factor]


def _orthogonalize_right(cores: Sequence[Tensor]) -> list[Tensor]:
    """Make every core but the first right-orthonormal, by QR from the right to the left."""
    swept, carry = [], cores[-1].new_ones(1, 1)
    for core in reversed(cores[1:]):
        whole = torch.tensordot(core, carry, dims=1)  # (R_{j-1}, k_j, r_j)
        basis, upper = torch.linalg.qr(whole.flatten(1).T)  # (k_j r_j, r), (r, R_{j-1})
        swept.append(basis.T.reshape(-1, *whole.shape[1:]))
        carry = upper.T
    swept.append(torch.tensordot(cores[0], carry, dims=1))
    return swept[::-1]


def _truncate(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Best factors ``(m, r), (r, n)`` of ``matrix (m, n)``, the first with orthonormal columns.

    ``r`` is ``rank`` or what the two sizes allow. Zero singular values are kept, so that a
    matrix of lower rank still yields an orthonormal basis and no dead rows in earlier cores.
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank], values[:rank, None] * right[:rank]


def _pad_ranks(
    cores: Sequence[Tensor], ranks: Sequence[int], *, dtype: torch.dtype
) -> list[Tensor]:
    """Pad rank dimensions with zeros up to ``ranks``, and cast."""
    return [
        pad(core, (0, right - core.shape[2], 0, 0, 0, left - core.shape[0])).to(dtype)
        for core, left, right in zip(cores, ranks[:-1], ranks[1:], strict=True)
    ]


def _stack_diagonal(first: Tensor, second: Tensor) -> Tensor:
    """``(a, k, b), (c, k, d) -> (a + c, k, b + d)``, block-diagonal in the rank dimensions."""
    upper = pad(first, (0, second.shape[2]))
    lower = pad(second, (first.shape[2], 0))
    return torch.cat([upper, lower], dim=0)


def _check_train(cores: Sequence[Tensor], *, where: str) -> None:
    if check_cores(cores, where=where) is not None:
        raise ShapeError(
            "cores with a client dimension are taken one client at a time",
            where=where,
            got=[tuple(core.shape) for core in cores],
            expected="cores (r_{j-1}, k_j, r_j)",
            fix="call it once a client, with [core[i] for core in cores]",
        )


def _check_finite(tensors: Sequence[Tensor], *, where: str) -> None:
    bad = [j for j, tensor in enumerate(tensors) if not math.isfinite(tensor.abs().max().item())]
    if bad:
        raise DivergenceError(
            "a singular value decomposition needs finite values",
            where=where,
            got=f"infinite or NaN values in tensor {bad[0]} of {len(tensors)}",
            fix="drop the update that diverged",
        )
