"""The leading singular factors of a weight, the same on every machine that has the weight."""

import torch
from jaxtyping import Float
from torch import Tensor

from fedtt.errors import ShapeError


def singular_factors(
    weight: Float[Tensor, "out in"], *, rank: int
) -> tuple[Float[Tensor, "rank in"], Float[Tensor, "out rank"]]:
    """``V_r^T`` and ``U_r S_r``: their product is the nearest to ``weight``.

    From the eigenvectors of the smaller Gram matrix, in float64: several times faster than a full
    SVD, and its rounding is far below what float32 can show. A singular vector is known up to its
    sign: here the entry of each row of ``V_r^T`` that is largest in size is positive. Singular
    values below 1e-7 of the first count as zero, and have zero rows and columns. Without values
    (on the meta device) the factors have none either.

    Raises:
        ShapeError: a rank larger than the smaller side.
    """
    rows, columns = weight.shape
    if rank > min(rows, columns):
        raise ShapeError(
            "the rank is larger than the weight",
            where="singular_factors",
            got=rank,
            expected=f"at most {min(rows, columns)}, the smaller side of {rows} x {columns}",
            fix="a smaller r, or other target_modules",
        )
    if weight.is_meta:
        return weight.new_empty(rank, columns), weight.new_empty(rows, rank)
    dense = weight.detach().to(torch.float64)
    tall = rows >= columns
    gram = dense.T @ dense if tall else dense @ dense.T
    # Ascending: the last ones are the leading ones.
    eigenvectors = torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1)
    projected = dense @ eigenvectors if tall else dense.T @ eigenvectors
    values = torch.linalg.vector_norm(projected, dim=0)  # (rank,)
    known = values > 1e-7 * values[0]
    other = torch.where(known, projected / values, 0.0)
    left, right = (other, eigenvectors * known) if tall else (eigenvectors * known, other)
    peaks = right.gather(0, right.abs().argmax(0, keepdim=True))  # (1, rank)
    signs = torch.where(peaks < 0, -1.0, 1.0)
    factors = (right * signs).T, left * values * signs
    down, up = (factor.to(torch.float32).contiguous() for factor in factors)
    return down, up


def unit_columns(factor: Float[Tensor, "out rank"]) -> Float[Tensor, "out rank"]:
    """``U_r`` of ``U_r S_r``: every column at length 1, and zero where it was zero."""
    lengths = torch.linalg.vector_norm(factor, dim=0)
    return torch.where(lengths > 0, factor / lengths, 0.0)
