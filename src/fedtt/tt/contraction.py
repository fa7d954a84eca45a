"""Multiplication by a tensor-train matrix in two skinny products, never forming the matrix.

Rows of the matrix are indexed by ``(i_1, ..., i_m)`` and columns by ``(i_{m+1}, ..., i_d)``, both
row-major. Cores may carry a leading client dimension ``K``; one client is ``K = 1``. In the shapes
``*clients`` is ``K`` or nothing, and names with an underscore differ from core to core.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fedtt.errors import ShapeError
from fedtt.tt.cores import check_cores
from fedtt.tt.modes import format_product


def contract_sides(
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]], split: int
) -> tuple[Float[Tensor, "*clients M r"], Float[Tensor, "*clients r N"]]:
    """Contract the first ``split`` cores to ``L``, the others to ``R``.

    ``W = L @ R``. Both sides start at the boundary rank 1, where the running product is smallest.

    Raises:
        ShapeError: cores that do not form a train, or ``split`` that leaves a side empty.
    """
    _check_split(cores, split, where="contract_sides")
    return _contract(cores, split)


def tt_linear(
    x: Float[Tensor, "*rows M"],
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]],
    *,
    split: int,
) -> Float[Tensor, "*rows N"]:
    """``x W`` as ``(x L) R``, in ``x``'s dtype.

    The cores are contracted in their own dtype, then ``L`` and ``R`` are cast to ``x``'s (under
    autocast the two products, and so the result, are in autocast's dtype). With cores of ``K``
    clients ``x`` is ``(K * b, ..., M)``, the rows of a client contiguous, and each client's rows
    meet its own matrix.

    Raises:
        ShapeError: cores that do not form a train, a last dimension of ``x`` other than ``M``, or
            a first dimension that ``K`` does not divide.
    """
    left, right = tt_sides(x, cores, split=split)
    if left.ndim == 2:
        product = _multiply_rows(x.reshape(-1, x.shape[-1]), left, right)
    else:
        rows = x.reshape(len(left), -1, x.shape[-1])  # (K, rows / K, M)
        product = torch.bmm(torch.bmm(rows, left), right)
    return product.reshape(*x.shape[:-1], right.shape[-1])


def tt_sides(
    x: Float[Tensor, "*rows M"],
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]],
    *,
    split: int,
) -> tuple[Float[Tensor, "*many M r"], Float[Tensor, "*many r N"]]:
    """``L`` and ``R`` of ``x W = (x L) R``, in ``x``'s dtype; of one client without ``K``.

    Raises:
        ShapeError: as :func:`tt_linear`.
    """
    clients = _check_split(cores, split, where="tt_linear")
    check_input(x, [core.shape[-2] for core in cores[:split]], clients=clients)
    if clients == 1:
        cores = [core.squeeze(0) for core in cores]
    left, right = _contract(cores, split)
    return left.to(x.dtype), right.to(x.dtype)


def contract_all_sides(
    trains: Sequence[Sequence[Float[Tensor, "*clients _left _mode _right"]]],
    *,
    split: int,
    dtype: torch.dtype,
) -> list[tuple[Float[Tensor, "*many M r"], Float[Tensor, "*many r N"]]]:
    """What :func:`tt_sides` gives for each of several trains of one shape, on one device.

    Cores of the same place are multiplied in one product, so that many trains take as many calls
    as one; the gradients of all of them come back the same way. Contracted in the dtype of the
    cores, and cast afterwards. The transpose of ``L`` is contiguous.

    Raises:
        ShapeError: no trains, trains of different shapes, or as :func:`contract_sides`.
    """
    shapes = [[tuple(core.shape) for core in cores] for cores in trains]
    if not trains or shapes.count(shapes[0]) < len(shapes):
        raise ShapeError(
            "trains that are contracted together must be of one shape",
            where="contract_all_sides",
            got=shapes,
            expected="one list of core shapes, of every train",
        )
    clients = _check_split(trains[0], split, where="contract_all_sides")
    many = () if clients is None or clients == 1 else (clients,)
    # Of all trains and clients in one dimension: (trains * K, r, k, r').
    stacked = [
        torch.stack(cores).reshape(-1, *cores[0].shape[-3:]) for cores in zip(*trains, strict=True)
    ]
    left, right = _contract(stacked, split)
    left = left.mT.to(dtype).contiguous()
    lefts = left.reshape(len(trains), *many, *left.shape[1:]).unbind()
    rights = right.to(dtype).reshape(len(trains), *many, *right.shape[1:]).unbind()
    return [(left.mT, right) for left, right in zip(lefts, rights, strict=True)]


def to_dense(
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]], *, split: int
) -> Float[Tensor, "*clients M N"]:
    """Form the dense matrix ``W = L @ R``.

    Raises:
        ShapeError: cores that do not form a train, or ``split`` that leaves a side empty.
    """
    left, right = contract_sides(cores, split)
    return torch.matmul(left, right)


def _contract(cores: Sequence[Tensor], split: int) -> tuple[Tensor, Tensor]:
    device = cores[0].device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        # Autocast would round after every core; the cores are tiny, so precision is free here.
        with torch.autocast(device, enabled=False):
            return _contract_left(cores[:split]), _contract_right(cores[split:])
    return _contract_left(cores[:split]), _contract_right(cores[split:])


def _contract_left(cores: Sequence[Tensor]) -> Tensor:
    """Contract cores ``(*K, 1, k_1, r_1), ...`` from the left to ``(*K, M, r)``."""
    lead = cores[0].shape[:-3]
    multiply = torch.bmm if lead else torch.mm  # torch.matmul adds a third to the backward of bmm
    product = cores[0].reshape(*lead, -1, cores[0].shape[-1])  # (*K, k_1, r_1)
    for core in cores[1:]:
        rank_in, _, rank_out = core.shape[-3:]
        product = multiply(product, core.reshape(*lead, rank_in, -1))  # (*K, m, k r')
        product = product.reshape(*lead, -1, rank_out)  # (*K, m k, r')
    return product


def _contract_right(cores: Sequence[Tensor]) -> Tensor:
    """Contract cores ``..., (*K, r_{d-1}, k_d, 1)`` from the right to ``(*K, r, N)``."""
    lead = cores[-1].shape[:-3]
    multiply = torch.bmm if lead else torch.mm
    product = cores[-1].reshape(*lead, cores[-1].shape[-3], -1)  # (*K, r_{d-1}, k_d)
    for core in reversed(cores[:-1]):
        rank_in, _, rank_out = core.shape[-3:]
        product = multiply(core.reshape(*lead, -1, rank_out), product)  # (*K, r' k, n)
        product = product.reshape(*lead, rank_in, -1)  # (*K, r', k n)
    return product


def _multiply_rows(rows: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``(rows L) R`` for one matrix and ``rows (n, M)``.

    Written as ``(L^T rows^T)^T R``: BLAS kernels are slow where the second factor of a product,
    or of its gradient, has only ``r`` columns.
    """
    hidden = torch.mm(left.T.contiguous(), rows.T)  # (r, n)
    return torch.mm(hidden.T, right)


def _check_split(cores: Sequence[Tensor], split: int, *, where: str) -> int | None:
    clients = check_cores(cores, where=where)
    if not 0 < split < len(cores):
        raise ShapeError(
            "the split must leave input cores and output cores",
            where=where,
            got=f"split {split} of {len(cores)} cores",
            expected=f"1 to {len(cores) - 1}",
        )
    return clients


def check_input(
    x: Float[Tensor, "*rows M"], in_modes: Sequence[int], *, clients: int | None
) -> None:
    """Raise :class:`ShapeError` for rows that do not fit a train, or ``K`` clients equally."""
    features = math.prod(in_modes)
    if x.ndim == 0 or x.shape[-1] != features:
        raise ShapeError(
            "the input does not match the input modes",
            where="tt_linear",
            got=tuple(x.shape),
            expected=f"(..., {features}), for in_modes {format_product(in_modes)}",
        )
    if clients is not None and (x.ndim == 1 or x.shape[0] % clients):
        raise ShapeError(
            f"the rows of {clients} clients must be equally many",
            where="tt_linear",
            got=tuple(x.shape),
            expected=f"a first dimension that {clients} divides",
            fix="stack one batch of the same size a client",
        )
