"""TT shapes: parameter counts with their arithmetic, automatic modes, refusals."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from tests.tt.strategies import random_cores, tt_shapes

from fedtt.errors import ShapeError
from fedtt.tt import TTShape, tt_shape


@given(tt_shapes())
def test_num_parameters_counts_the_entries_of_the_cores(shape: TTShape) -> None:
    cores = random_cores(shape, 0)
    assert shape.num_parameters == sum(core.numel() for core in cores)
    assert shape.num_cores == len(cores)


@given(tt_shapes())
def test_a_shape_is_rebuilt_from_its_parts(shape: TTShape) -> None:
    rebuilt = tt_shape(
        shape.in_features,
        shape.out_features,
        rank=(1,) * (shape.num_cores + 1),
        in_modes=list(shape.in_modes),
        out_modes=list(shape.out_modes),
    )
    assert dataclasses.replace(rebuilt, ranks=shape.ranks) == shape
    assert rebuilt.inner_rank == 1


@pytest.mark.parametrize(
    ("in_features", "out_features", "terms", "total"),
    [
        # Rank 5, every term r_{j-1} * k_j * r_j.
        (768, 64, (1 * 8 * 5, 5 * 8 * 5, 5 * 12 * 5, 5 * 8 * 5, 5 * 8 * 1), 780),
        (1024, 64, (4 * 5, 5 * 4 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8), 760),
        (4096, 64, (16 * 5, 5 * 16 * 5, 5 * 16 * 5, 5 * 4 * 5, 5 * 4 * 5, 5 * 4), 1100),
        (5120, 64, (5 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 16 * 5, 5 * 8 * 5, 5 * 8), 1065),
        (8192, 64, (8 * 5, 5 * 16 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8), 1080),
        (768, 768, (12 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 8 * 5, 5 * 12), 920),
        (384, 64, (8 * 5, 5 * 8 * 5, 5 * 6 * 5, 5 * 8 * 5, 5 * 8), 630),
    ],
)
def test_golden_parameter_counts(
    in_features: int, out_features: int, terms: tuple[int, ...], total: int
) -> None:
    shape = tt_shape(in_features, out_features, rank=5)
    assert tuple(a * k * b for a, k, b in shape.core_shapes) == terms
    assert shape.num_parameters == sum(terms) == total
    mirror = tt_shape(out_features, in_features, rank=5)
    assert mirror.num_parameters == total
    assert (mirror.in_features, mirror.out_features) == (out_features, in_features)


@pytest.mark.parametrize(
    ("blocks", "hidden", "cores"),
    [
        (12, 768, 37_440),  # 12 blocks * 2 adapters * 2 matrices * 780
        (24, 1024, 72_960),  # 24 * 2 * 2 * 760
        (32, 4096, 140_800),  # 32 * 2 * 2 * 1100
        (40, 5120, 170_400),  # 40 * 2 * 2 * 1065
    ],
)
def test_golden_counts_of_whole_models(blocks: int, hidden: int, cores: int) -> None:
    down, up = tt_shape(hidden, 64, rank=5), tt_shape(64, hidden, rank=5)
    assert blocks * 2 * (down.num_parameters + up.num_parameters) == cores


def test_unpublished_pairs_are_balanced_with_the_largest_modes_outside() -> None:
    down, up = tt_shape(384, 48, rank=3), tt_shape(48, 384, rank=3)
    assert (down.in_modes, down.out_modes) == ((8, 8, 6), (6, 8))
    assert (up.in_modes, up.out_modes) == ((8, 6), (6, 8, 8))
    assert down.split == 3
    assert up.split == 2


def test_one_given_side_leaves_the_other_automatic() -> None:
    assert tt_shape(768, 64, rank=5, in_modes=(4, 12, 16)).out_modes == (8, 8)
    assert tt_shape(768, 64, rank=5, out_modes=(4, 16)).in_modes == (8, 8, 12)


def test_a_rank_may_be_given_bond_by_bond() -> None:
    shape = tt_shape(64, 64, rank=[1, 2, 3, 4, 1])
    assert shape.core_shapes == ((1, 8, 2), (2, 8, 3), (3, 8, 4), (4, 8, 1))
    assert shape.inner_rank == 3


def test_full_ranks_fit_but_one_more_does_not() -> None:
    full = (1, 3, 12, 20, 5, 1)  # of [3, 4, 5 | 4, 5], 60 x 20: min(left, right) at each bond
    assert tt_shape(60, 20, rank=full, in_modes=(3, 4, 5), out_modes=(4, 5)).ranks == full
    with pytest.raises(ShapeError, match="TT rank 21 at bond 3 does not fit"):
        tt_shape(60, 20, rank=(1, 3, 12, 21, 5, 1), in_modes=(3, 4, 5), out_modes=(4, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"in_modes": (8, 8, 8)},
            r"in_modes do not multiply to in_features\n  got: 8 x 8 x 8 = 512\n"
            r"  expected: a product of 768\n"
            r"  fix: use in_modes \(12, 8, 8\), or leave in_modes out",
        ),
        (
            {"out_modes": (16, 5)},
            r"out_modes do not multiply to out_features\n  got: 16 x 5 = 80\n"
            r"  expected: a product of 64",
        ),
        ({"in_modes": ()}, r"in_modes do not multiply to in_features\n  got: no modes"),
        (
            {"rank": 65},
            r"TT rank 65 at bond 1 does not fit\n  where: TT shape with in_modes "
            r"8 x 8 x 12 = 768, out_modes 8 x 8 = 64\n  got: \(1, 65, 65, 65, 65, 1\)\n"
            r"  expected: at most 64 at bond 1\n  fix: use a rank of at most 64",
        ),
        ({"rank": 0}, r"a TT rank must be at least 1\n  where: .* 8 x 8 x 12 = 768"),
        ({"rank": (5, 5, 5, 5)}, r"5 cores need 6 TT ranks, got 4\n"),
        ({"rank": (5, 5, 5, 5, 5, 1)}, r"the first and the last TT rank must be 1\n"),
        ({"rank": (1, 5, 5, 5, 5, 5)}, r"the first and the last TT rank must be 1\n"),
        ({"in_modes": (-8, -8, 12)}, r"in_modes must be one or more sizes of at least 1\n"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        tt_shape(768, 64, **({"rank": 5} | arguments))


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ShapeError, match="must be at least 1"):
        tt_shape(0, 64, rank=1)


def test_a_side_without_modes_is_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"out_modes must be one or more sizes.*\n.*in_modes 8 = 8"
    ):
        TTShape(in_modes=(8,), out_modes=(), ranks=(1, 1))


def test_a_shape_is_a_value() -> None:
    shape = tt_shape(768, 64, rank=5)
    assert shape == tt_shape(768, 64, rank=5)
    assert hash(shape) == hash(tt_shape(768, 64, rank=5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        shape.ranks = (1, 1)  # type: ignore[misc]
