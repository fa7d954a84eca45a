"""One tensor train for the matrices of many layers: modes input, layer, projection, output.

After MetaTT (arXiv 2506.09105) and LoTR (arXiv 2402.01376): modes where a network has structure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedtt.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class CrossLayerShape:
    """Shape of the train of ``layers x projections`` matrices; ``ranks`` are its three inner ones.

    Matrices need not be of one size. ``in_sizes`` and ``out_sizes`` are the distinct ones; the
    input and the output mode have a block for each, side by side, and a matrix takes one block of
    each mode. So it is one train of four cores, linear in each of them, whatever it is for.

    Raises:
        ShapeError: a mode or rank below 1, a wrong number of ranks, or a rank above what its
            neighbors can use.
    """

    in_sizes: tuple[int, ...]
    layers: int
    projections: int
    out_sizes: tuple[int, ...]
    ranks: tuple[int, int, int]

    def __post_init__(self) -> None:
        sizes = (*self.in_sizes, self.layers, self.projections, *self.out_sizes, *self.ranks)
        if not (self.in_sizes and self.out_sizes and len(self.ranks) == 3 and min(sizes) >= 1):
            raise ShapeError(
                "a cross-layer train needs sizes of at least 1, and three ranks",
                got=self,
                expected="in_sizes, layers, projections, out_sizes; ranks between these four",
            )
        first, middle, last = self.ranks
        for index, most in enumerate(
            (
                min(*self.in_sizes, self.layers * middle),
                min(self.layers * first, self.projections * last),
                min(*self.out_sizes, self.projections * middle),
            )
        ):
            if self.ranks[index] > most:
                raise ShapeError(
                    f"rank {self.ranks[index]} at bond {index + 1} does not fit",
                    where=f"a train of {self.layers} layers x {self.projections} projections",
                    got=self.ranks,
                    expected=f"at most {most} there",
                    fix=f"one rank of at most {min(*self.in_sizes, *self.out_sizes)} for all bonds",
                )

    @property
    def modes(self) -> tuple[int, int, int, int]:
        """All four mode sizes; input and output with all their blocks."""
        return sum(self.in_sizes), self.layers, self.projections, sum(self.out_sizes)

    @property
    def split(self) -> int:
        """Number of cores that carry input modes."""
        return 1

    @property
    def core_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """``(r_{j-1}, k_j, r_j)`` of every core."""
        return tuple(zip((1, *self.ranks), self.modes, (*self.ranks, 1), strict=True))

    @property
    def num_parameters(self) -> int:
        """``sum_j r_{j-1} k_j r_j``."""
        return sum(left * mode * right for left, mode, right in self.core_shapes)


@dataclass(frozen=True, kw_only=True)
class MatrixPlace:
    """Which matrix of a train: its layer, its projection, and its blocks of both sides."""

    layer: int
    projection: int
    rows: slice
    columns: slice


def block_of(size: int, sizes: Sequence[int]) -> slice:
    """Where the block of that size lies in a mode of these blocks."""
    start = sum(sizes[: sizes.index(size)])
    return slice(start, start + size)


def init_cross_layer_cores(
    shape: CrossLayerShape, *, zero: bool
) -> list[Float[Tensor, "_left _mode _right"]]:
    """Cores whose matrices are all zero, or, without ``zero``, of orthonormal rows and columns.

    Each block of the input core has orthonormal columns. The slices of the middle cores are
    identities where they are square, as published, else random with orthonormal rows or columns
    (an identity that is cut off would leave some of its neighbor without a gradient for ever). With
    ``zero`` the output core, the last, is zero: at first only it has a gradient, that of LoRA's B
    beside an orthonormal A summed over all layers; from the second step on every core has one.
    """
    cores = [torch.zeros(core_shape) for core_shape in shape.core_shapes]
    first, *middle, last = cores
    for size in shape.in_sizes:
        nn.init.orthogonal_(first[0, block_of(size, shape.in_sizes)])
    for core in middle:
        for index in range(core.shape[1]):
            core[:, index] = _identity(core[:, index])
    if not zero:
        for size in shape.out_sizes:
            block = last[:, block_of(size, shape.out_sizes), 0]
            block.copy_(nn.init.orthogonal_(torch.empty_like(block)))
    return cores


def cross_layer_factors(
    cores: Sequence[Float[Tensor, "*clients _left _mode _right"]], place: MatrixPlace
) -> tuple[Float[Tensor, "*_clients M r"], Float[Tensor, "*_clients r N"]]:
    """``A (M, r1)`` and ``G_layer G_projection B (r1, N)``, whose product is the matrix.

    Cores may have a leading client dimension, some or all of them; so have the factors then.
    """
    first, by_layer, by_projection, last = cores
    right = by_projection[..., place.projection, :] @ last[..., place.columns, 0]
    return first[..., 0, place.rows, :], by_layer[..., place.layer, :] @ right


def _identity(like: Tensor) -> Tensor:
    rows, columns = like.shape
    if rows == columns:
        return torch.eye(rows, device=like.device)
    return nn.init.orthogonal_(torch.empty_like(like))
