"""Sums of many trains, their compression, distances and gauges, against dense matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tt.strategies import random_cores, seeds, tt_shapes

from fedtt.errors import ShapeError
from fedtt.tt import (
    to_dense,
    tt_align,
    tt_compress,
    tt_distance,
    tt_round,
    tt_shape,
    tt_sum,
)

SHAPE = tt_shape(48, 12, rank=3, in_modes=[4, 4, 3], out_modes=[4, 3])


def trains(shape, count: int, seed: int) -> list[list[torch.Tensor]]:
    return [random_cores(shape, seed=seed + index, dtype=torch.float64) for index in range(count)]


def dense(cores, shape=SHAPE) -> torch.Tensor:
    return to_dense(cores, split=shape.split)


@given(shape=tt_shapes(), count=st.integers(1, 5), seed=seeds)
def test_the_sum_of_trains_is_the_sum_of_matrices(shape, count: int, seed: int) -> None:
    members = trains(shape, count, seed)
    total = sum(dense(cores, shape) for cores in members)
    torch.testing.assert_close(dense(tt_sum(members), shape), total)


@given(shape=tt_shapes(), count=st.integers(1, 6), seed=seeds)
def test_compression_keeps_the_matrix_and_bounds_the_ranks(shape, count: int, seed: int) -> None:
    total = tt_sum(trains(shape, count, seed))
    small = tt_compress(total)
    torch.testing.assert_close(dense(small, shape), dense(total, shape), rtol=1e-10, atol=1e-12)
    sizes = torch.tensor(shape.modes)
    for bond, core in enumerate(small[:-1], start=1):
        limit = min(int(sizes[:bond].prod()), int(sizes[bond:].prod()))
        assert core.shape[2] <= min(limit, total[bond - 1].shape[2])


def test_a_train_added_to_itself_compresses_to_its_own_ranks() -> None:
    (cores,) = trains(SHAPE, 1, 3)
    small = tt_compress(tt_sum([cores] * 7))
    assert [core.shape for core in small] == [core.shape for core in cores]
    torch.testing.assert_close(dense(small), 7 * dense(cores))


def test_the_zero_train_compresses_to_rank_one() -> None:
    zero = [torch.zeros_like(core) for core in trains(SHAPE, 1, 0)[0]]
    small = tt_compress(zero)
    assert max(core.shape[2] for core in small) == 1
    assert not dense(small).any()


@given(shape=tt_shapes(), seed=seeds)
def test_distance_is_the_norm_of_the_difference(shape, seed: int) -> None:
    first, second = trains(shape, 2, seed)
    expected = torch.linalg.vector_norm(dense(first, shape) - dense(second, shape))
    assert tt_distance(first, second) == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


def test_a_small_distance_keeps_its_digits() -> None:
    (cores,) = trains(SHAPE, 1, 5)
    near = [*cores[:-1], cores[-1] * (1 + 1e-10)]
    size = float(torch.linalg.vector_norm(dense(cores)))
    assert tt_distance(cores, near) == pytest.approx(1e-10 * size, rel=1e-3)


@given(seed=seeds, noise=st.sampled_from([0.0, 0.1, 1.0]))
def test_alignment_keeps_the_matrix_and_comes_nearer(seed: int, noise: float) -> None:
    (cores,) = trains(SHAPE, 1, seed)
    generator = torch.Generator().manual_seed(seed)
    target = [
        core + noise * torch.randn(core.shape, generator=generator, dtype=core.dtype)
        for core in cores
    ]
    moved = tt_round(cores, ranks=SHAPE.ranks)  # the same matrix in an orthonormal gauge
    aligned = tt_align(moved, like=target)
    torch.testing.assert_close(dense(aligned), dense(cores), rtol=1e-8, atol=1e-10)

    def gap(train) -> float:
        pairs = zip(train, target, strict=True)
        return sum(float((a - b).square().sum()) for a, b in pairs)

    if noise < 1:
        assert gap(aligned) <= gap(moved) + 1e-12
    if noise == 0:
        for got, wanted in zip(aligned, cores, strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-8)


def test_a_train_of_deficient_rank_aligns_without_losing_itself() -> None:
    (low,) = trains(tt_shape(48, 12, rank=1, in_modes=[4, 4, 3], out_modes=[4, 3]), 1, 2)
    padded = tt_round(low, ranks=SHAPE.ranks)
    (target,) = trains(SHAPE, 1, 9)
    aligned = tt_align(padded, like=target)
    assert all(torch.isfinite(core).all() for core in aligned)
    torch.testing.assert_close(dense(aligned), dense(low), rtol=1e-8, atol=1e-10)


def test_other_shapes_and_no_trains_are_refused() -> None:
    (cores,) = trains(SHAPE, 1, 0)
    with pytest.raises(ShapeError, match="only equal shapes align"):
        tt_align(cores, like=tt_compress(tt_sum([cores, *trains(SHAPE, 1, 1)])))
    with pytest.raises(ShapeError, match="at least one train"):
        tt_sum([])
