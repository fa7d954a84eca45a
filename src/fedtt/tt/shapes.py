"""Shapes of tensor-train matrices: mode sizes and TT ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedtt.errors import ShapeError
from fedtt.tt.modes import balanced_modes, format_product, published_modes


@dataclass(frozen=True, kw_only=True)
class TTShape:
    """Shape of a matrix of ``in_features x out_features`` held as a tensor train.

    ``ranks`` are all ``num_cores + 1`` TT ranks, the two boundary ones (always 1) included: core
    ``j`` has the shape ``(ranks[j], modes[j], ranks[j + 1])``.

    Raises:
        ShapeError: a side without modes, a mode or rank below 1, a wrong number of ranks, or a
            boundary rank other than 1.
    """

    in_modes: tuple[int, ...]
    out_modes: tuple[int, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        for side, modes in (("in_modes", self.in_modes), ("out_modes", self.out_modes)):
            if not modes or min(modes) < 1:
                raise ShapeError(
                    f"{side} must be one or more sizes of at least 1",
                    where=_describe(self.in_modes, self.out_modes),
                    got=tuple(modes),
                    fix=f"give {side} whose product is the number of features",
                )
        check_ranks(
            self.ranks,
            num_cores=self.num_cores,
            where=_describe(self.in_modes, self.out_modes),
        )

    @property
    def modes(self) -> tuple[int, ...]:
        """All mode sizes: input modes, then output modes."""
        return (*self.in_modes, *self.out_modes)

    @property
    def num_cores(self) -> int:
        """Number of cores, ``d``."""
        return len(self.in_modes) + len(self.out_modes)

    @property
    def split(self) -> int:
        """Number of cores that carry input modes."""
        return len(self.in_modes)

    @property
    def in_features(self) -> int:
        """Rows of the dense matrix."""
        return math.prod(self.in_modes)

    @property
    def out_features(self) -> int:
        """Columns of the dense matrix."""
        return math.prod(self.out_modes)

    @property
    def inner_rank(self) -> int:
        """TT rank between the input and the output cores: it bounds the rank of the matrix."""
        return self.ranks[self.split]

    @property
    def core_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """``(r_{j-1}, k_j, r_j)`` of every core."""
        return tuple(zip(self.ranks[:-1], self.modes, self.ranks[1:], strict=True))

    @property
    def num_parameters(self) -> int:
        """``sum_j r_{j-1} k_j r_j``."""
        return sum(math.prod(core_shape) for core_shape in self.core_shapes)


def tt_shape(
    in_features: int,
    out_features: int,
    *,
    rank: int | Sequence[int],
    in_modes: Sequence[int] | None = None,
    out_modes: Sequence[int] | None = None,
) -> TTShape:
    """Shape of a TT matrix ``in_features x out_features``.

    Modes left ``None`` are chosen: the published list of the pair (mirrored for the reversed
    pair) where there is one, else ``balanced_modes``, mirrored on the output side so that both
    largest modes lie where the boundary rank is 1.

    ``rank`` is one rank for every bond, or all ``num_cores + 1`` ranks with the boundary 1s. One
    rank is not clipped bond by bond: the published parameter counts need it whole.

    Raises:
        ShapeError: modes that do not multiply to the features, or a rank that cannot fit.
    """
    published = published_modes(in_features, out_features)
    if in_modes is None:
        in_modes = published[0] if published else balanced_modes(in_features)
    if out_modes is None:
        out_modes = published[1] if published else balanced_modes(out_features)[::-1]
    _check_product("in", in_features, in_modes)
    _check_product("out", out_features, out_modes)
    num_cores = len(in_modes) + len(out_modes)
    ranks = (1, *[rank] * (num_cores - 1), 1) if isinstance(rank, int) else tuple(rank)
    shape = TTShape(in_modes=tuple(in_modes), out_modes=tuple(out_modes), ranks=ranks)
    _check_fit(shape)
    return shape


def check_ranks(ranks: Sequence[int], *, num_cores: int, where: str) -> None:
    """Check that ``ranks`` are the ``num_cores + 1`` TT ranks of a train.

    Raises:
        ShapeError: a wrong number of ranks, a rank below 1, or a boundary rank other than 1.
    """
    problem = None
    if len(ranks) != num_cores + 1:
        problem = f"{num_cores} cores need {num_cores + 1} TT ranks, got {len(ranks)}"
    elif min(ranks) < 1:
        problem = "a TT rank must be at least 1"
    elif ranks[0] != 1 or ranks[-1] != 1:
        problem = "the first and the last TT rank must be 1"
    if problem is not None:
        raise ShapeError(
            problem,
            where=where,
            got=tuple(ranks),
            expected=f"(1, {num_cores - 1} inner ranks of at least 1, 1)",
            fix="give one rank for all, or every rank with the 1 at both ends",
        )


def _describe(in_modes: Sequence[int], out_modes: Sequence[int]) -> str:
    return (
        f"TT shape with in_modes {format_product(in_modes)}, out_modes {format_product(out_modes)}"
    )


def _check_product(side: str, features: int, modes: Sequence[int]) -> None:
    if math.prod(modes) != features or not modes:
        raise ShapeError(
            f"{side}_modes do not multiply to {side}_features",
            got=f"{format_product(modes)}" if modes else "no modes",
            expected=f"a product of {features}",
            fix=f"use {side}_modes {balanced_modes(features)}, or leave {side}_modes out",
        )


def _check_fit(shape: TTShape) -> None:
    """Refuse ranks that add parameters but no matrix.

    A bond may have the rank of its unfolding, or the smaller feature count: one rank for all
    bonds is judged by the bond between the sides, where it bounds the rank of the matrix.
    """
    features = min(shape.in_features, shape.out_features)
    for bond in range(1, shape.num_cores):
        left, right = math.prod(shape.modes[:bond]), math.prod(shape.modes[bond:])
        limit = max(features, min(left, right))
        if shape.ranks[bond] > limit:
            raise ShapeError(
                f"TT rank {shape.ranks[bond]} at bond {bond} does not fit",
                where=_describe(shape.in_modes, shape.out_modes),
                got=shape.ranks,
                expected=f"at most {limit} at bond {bond}",
                fix=f"use a rank of at most {features}",
            )
