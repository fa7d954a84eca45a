"""TT-SVD and TT-rounding are as good as the theorem says; sums are exact."""

import math

import pytest
import tensorly
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tensorly.decomposition import tensor_train
from tests.tt.strategies import (
    dense_oracle,
    random_cores,
    random_matrix,
    seeds,
    tt_shapes,
    unfolding_tails,
)
from torch import Tensor

from fedtt.errors import DivergenceError, ShapeError
from fedtt.tt import (
    TTShape,
    init_cores,
    to_dense,
    tt_add,
    tt_round,
    tt_scale,
    tt_shape,
    tt_svd,
)

CUT = TTShape(in_modes=(4, 3, 5), out_modes=(3, 4), ranks=(1, 2, 3, 4, 2, 1))


def full_ranks(shape: TTShape) -> tuple[int, ...]:
    sizes = [math.prod(shape.modes[:bond]) for bond in range(shape.num_cores + 1)]
    return tuple(min(size, sizes[-1] // size) for size in sizes)


def with_ranks(shape: TTShape, ranks: tuple[int, ...]) -> TTShape:
    return TTShape(in_modes=shape.in_modes, out_modes=shape.out_modes, ranks=ranks)


def shapes_of(cores: list[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(core.shape) for core in cores)


def error_of(cores: list[Tensor], matrix: Tensor, shape: TTShape) -> float:
    return (dense_oracle(cores, shape.split) - matrix).norm().item()


def assert_quasi_optimal(cores: list[Tensor], matrix: Tensor, shape: TTShape) -> None:
    """Every train errs by the largest tail at least; these by the root of their squares at most.

    So the error is at most ``sqrt(d - 1)`` times the best.
    """
    assert shapes_of(cores) == shape.core_shapes
    tails, slack = unfolding_tails(matrix, shape), 1e-10 * (1 + matrix.norm().item())
    error = error_of(cores, matrix, shape)
    assert max(tails) - slack <= error <= math.hypot(*tails) + slack


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_tt_svd_is_quasi_optimal(shape: TTShape, seed: int) -> None:
    matrix = random_matrix(shape, seed)
    assert_quasi_optimal(tt_svd(matrix, shape), matrix, shape)


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_tt_svd_is_exact_at_full_rank(shape: TTShape, seed: int) -> None:
    matrix = random_matrix(shape, seed)
    full = with_ranks(shape, full_ranks(shape))
    assert error_of(tt_svd(matrix, full), matrix, full) <= 1e-11 * matrix.norm()


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_tt_svd_recovers_a_train_of_its_own_ranks(shape: TTShape, seed: int) -> None:
    matrix = dense_oracle(random_cores(shape, seed), shape.split)
    assert error_of(tt_svd(matrix, shape), matrix, shape) <= 1e-11 * (1 + matrix.norm())


@pytest.mark.parametrize("seed", range(5))
def test_tt_svd_errs_exactly_as_tensorly(seed: int) -> None:
    matrix = random_matrix(CUT, seed)
    theirs = tensor_train(matrix.reshape(CUT.modes).numpy(), rank=list(CUT.ranks))
    whole = torch.from_numpy(tensorly.tt_to_tensor(theirs)).reshape(matrix.shape)
    ours = tt_svd(matrix, CUT)
    assert error_of(ours, matrix, CUT) == pytest.approx((whole - matrix).norm().item(), rel=1e-9)
    torch.testing.assert_close(to_dense(ours, split=CUT.split), whole)


@settings(deadline=None)
@given(tt_shapes(), seeds, st.data())
def test_rounding_is_quasi_optimal(shape: TTShape, seed: int, data: st.DataObject) -> None:
    cores = random_cores(shape, seed)
    inner = data.draw(st.tuples(*[st.integers(1, 5)] * (shape.num_cores - 1)))
    target = with_ranks(shape, (1, *inner, 1))
    rounded = tt_round(cores, ranks=target.ranks)
    assert_quasi_optimal(rounded, dense_oracle(cores, shape.split), target)


@settings(deadline=None)
@given(tt_shapes(), seeds, st.data())
def test_cutting_one_bond_is_optimal(shape: TTShape, seed: int, data: st.DataObject) -> None:
    bond = data.draw(st.integers(1, shape.num_cores - 1))
    assume(shape.ranks[bond] > 1)
    ranks = list(shape.ranks)
    ranks[bond] = data.draw(st.integers(1, shape.ranks[bond] - 1))
    cores = random_cores(shape, seed)
    matrix = dense_oracle(cores, shape.split)
    rounded = error_of(tt_round(cores, ranks=ranks), matrix, shape)
    tail = max(unfolding_tails(matrix, with_ranks(shape, tuple(ranks))))
    slack = 1e-10 * (1 + matrix.norm().item())
    assert rounded == pytest.approx(tail, abs=slack)
    assert rounded <= error_of(truncated(cores, ranks), matrix, shape) + slack


def truncated(cores: list[Tensor], ranks: list[int] | tuple[int, ...]) -> list[Tensor]:
    """The naive cut: drop the last slices of each bond."""
    bonds = zip(cores, ranks[:-1], ranks[1:], strict=True)
    return [core[:left, :, :right] for core, left, right in bonds]


@pytest.mark.parametrize("seed", range(10))
def test_rounding_all_bonds_beats_naive_truncation(seed: int) -> None:
    wide = with_ranks(CUT, (1, 4, 6, 8, 4, 1))
    cores = random_cores(wide, seed)
    matrix = dense_oracle(cores, wide.split)
    naive = error_of(truncated(cores, CUT.ranks), matrix, wide)
    assert error_of(tt_round(cores, ranks=CUT.ranks), matrix, wide) < 0.9 * naive


@pytest.mark.parametrize("seed", range(5))
def test_rounding_a_train_equals_tt_svd_of_its_dense_matrix(seed: int) -> None:
    cores = random_cores(with_ranks(CUT, (1, 4, 6, 8, 4, 1)), seed)
    matrix = dense_oracle(cores, CUT.split)
    torch.testing.assert_close(
        to_dense(tt_round(cores, ranks=CUT.ranks), split=CUT.split),
        to_dense(tt_svd(matrix, CUT), split=CUT.split),
    )


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_a_sum_with_itself_rounds_to_twice_the_train(shape: TTShape, seed: int) -> None:
    cores = random_cores(shape, seed)
    rounded = tt_round(tt_add(cores, cores), ranks=shape.ranks)
    twice = 2 * dense_oracle(cores, shape.split)
    assert shapes_of(rounded) == shape.core_shapes
    assert error_of(rounded, twice, shape) <= 1e-11 * (1 + twice.norm())


@settings(deadline=None)
@given(tt_shapes(), seeds, seeds, st.data())
def test_addition_is_exact(shape: TTShape, seed: int, other: int, data: st.DataObject) -> None:
    inner = data.draw(st.tuples(*[st.integers(1, 3)] * (shape.num_cores - 1)))
    second = with_ranks(shape, (1, *inner, 1))
    a, b = random_cores(shape, seed), random_cores(second, other)
    total = tt_add(a, b)
    expected = dense_oracle(a, shape.split) + dense_oracle(b, shape.split)
    torch.testing.assert_close(dense_oracle(total, shape.split), expected)
    ranks = [x + y for x, y in zip(shape.ranks, second.ranks, strict=True)]
    assert shapes_of(total) == with_ranks(shape, (1, *ranks[1:-1], 1)).core_shapes


@settings(deadline=None)
@given(tt_shapes(), seeds, st.floats(-100, 100))
def test_scaling_scales_the_matrix(shape: TTShape, seed: int, factor: float) -> None:
    cores = random_cores(shape, seed)
    scaled = dense_oracle(tt_scale(cores, factor), shape.split)
    torch.testing.assert_close(scaled, factor * dense_oracle(cores, shape.split))


def test_scaling_takes_cores_of_clients() -> None:
    cores = random_cores(CUT, 0, clients=2)
    scaled = to_dense(tt_scale(cores, -3.0), split=CUT.split)
    torch.testing.assert_close(scaled, -3.0 * to_dense(cores, split=CUT.split))


def test_weighted_mean_of_near_trains_rounds_to_within_their_distance() -> None:
    # Clients near one another: their exact mean is within `spread` of a train of rank 5, so the
    # rounded mean is within (1 + sqrt(d - 1)) * spread of that train, d = 5.
    shape = tt_shape(768, 64, rank=5)
    base = init_cores(shape, std=0.02, generator=torch.Generator().manual_seed(0))
    clients = [
        [core + 0.01 * core.std() * noise for core, noise in zip(base, noises, strict=True)]
        for noises in (random_cores(shape, seed, dtype=torch.float32) for seed in (1, 2, 3))
    ]
    weights = (0.5, 0.3, 0.2)
    mean = tt_scale(clients[0], weights[0])
    for weight, client in zip(weights[1:], clients[1:], strict=True):
        mean = tt_add(mean, tt_scale(client, weight))
    exact = sum(w * to_dense(c, split=3) for w, c in zip(weights, clients, strict=True))
    assert isinstance(exact, Tensor)
    spread = (exact - to_dense(base, split=3)).norm().item()
    rounded = tt_round(mean, ranks=shape.ranks)
    assert shapes_of(rounded) == shape.core_shapes
    assert error_of(rounded, exact, shape) < math.sqrt(4) * spread


def test_addition_and_scaling_are_differentiable() -> None:
    shape = TTShape(in_modes=(2, 3), out_modes=(2,), ranks=(1, 2, 2, 1))
    inputs = [core.requires_grad_() for seed in (0, 1) for core in random_cores(shape, seed)]
    assert torch.autograd.gradcheck(
        lambda *cores: to_dense(tt_add(tt_scale(cores[:3], -0.7), cores[3:]), split=2), inputs
    )


def test_rounding_and_tt_svd_are_outside_autograd_and_leave_their_input() -> None:
    cores = [core.requires_grad_() for core in random_cores(CUT, 0)]
    before = [core.detach().clone() for core in cores]
    rounded = tt_round(cores, ranks=(1, 1, 1, 1, 1, 1))
    decomposed = tt_svd(to_dense(cores, split=CUT.split), CUT)
    assert not any(core.requires_grad for core in [*rounded, *decomposed])
    assert all(torch.equal(a, b) for a, b in zip(before, cores, strict=True))


def test_rounding_works_in_float64_inside() -> None:
    # a - (1 - 2^-20) a: in float32 the cancellation would leave noise of 1e-7 / 1e-6 = 10 %.
    shape = tt_shape(768, 64, rank=5)
    a = random_cores(shape, 0, dtype=torch.float32)
    difference = tt_add(a, tt_scale(a, -(1 - 2**-20)))
    exact = dense_oracle([core.double() for core in difference], 3)
    rounded = [core.double() for core in tt_round(difference, ranks=shape.ranks)]
    assert error_of(rounded, exact, shape) < 1e-5 * exact.norm()


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_the_dtype_of_the_input_comes_back(dtype: torch.dtype, bound: float) -> None:
    cores = random_cores(CUT, 0, dtype=dtype)
    matrix = dense_oracle([core.double() for core in cores], CUT.split)
    for result in (tt_round(cores, ranks=CUT.ranks), tt_svd(matrix.to(dtype), CUT)):
        assert {core.dtype for core in result} == {dtype}
        doubles = [core.double() for core in result]
        assert error_of(doubles, matrix, CUT) < bound * matrix.norm()


def test_the_zero_train_stays_trainable() -> None:
    # An adapter starts with its last core zero: rounding must not zero the others as well, or
    # no core would get a gradient.
    shape = tt_shape(64, 768, rank=5)
    cores = init_cores(shape, std=0.02, generator=torch.Generator().manual_seed(0))
    rounded = tt_round([*cores[:-1], torch.zeros_like(cores[-1])], ranks=shape.ranks)
    assert not to_dense(rounded, split=2).any()
    for core in rounded[:-1]:
        columns = core.flatten(0, 1)
        torch.testing.assert_close(columns.T @ columns, torch.eye(5))


def test_rounded_cores_are_left_orthonormal_and_ranks_beyond_the_modes_zero() -> None:
    shape = tt_shape(4096, 64, rank=5)  # [16, 16, 16 | 4, 4, 4]: the last bond can use 4 of 5
    cores = init_cores(shape, std=0.02, generator=torch.Generator().manual_seed(0))
    rounded = tt_round(cores, ranks=shape.ranks)
    assert shapes_of(rounded) == shape.core_shapes
    for core in rounded[:-2]:
        columns = core.flatten(0, 1)
        torch.testing.assert_close(columns.T @ columns, torch.eye(5), atol=1e-5, rtol=0)
    assert not rounded[-2][:, :, 4].any()
    assert not rounded[-1][4].any()
    dense = to_dense(cores, split=3)
    assert error_of(rounded, dense, shape) < 1e-5 * dense.norm()


def test_a_single_core_is_a_train() -> None:
    core = random_matrix(tt_shape(1, 6, rank=1), 0).reshape(1, 6, 1)
    torch.testing.assert_close(tt_round([core], ranks=(1, 1))[0], core)
    torch.testing.assert_close(tt_add([core], [core])[0], 2 * core)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    cores = random_cores(CUT, 0)
    cores[1][0, 1, 0] = bad
    with pytest.raises(DivergenceError, match=r"where: tt_round\n.*in tensor 1 of 5\n  fix: drop"):
        tt_round(cores, ranks=CUT.ranks)
    matrix = random_matrix(CUT, 0)
    matrix[1, 2] = bad
    with pytest.raises(DivergenceError, match=r"where: tt_svd\n.*in tensor 0 of 1"):
        tt_svd(matrix, CUT)


def test_a_matrix_that_does_not_match_is_refused() -> None:
    message = (
        r"matrix does not match the modes\n  where: tt_svd\n  got: \(12, 60\)\n"
        r"  expected: in_modes 4 x 3 x 5 = 60, out_modes 3 x 4 = 12"
    )
    with pytest.raises(ShapeError, match=message):
        tt_svd(random_matrix(CUT, 0).T, CUT)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ((1, 2, 3, 1), r"5 cores need 6 TT ranks, got 4\n  where: tt_round"),
        ((1, 2, 3, 0, 2, 1), r"a TT rank must be at least 1\n  where: tt_round"),
        ((1, 2, 3, 4, 2, 2), r"the first and the last TT rank must be 1\n  where: tt_round"),
    ],
)
def test_ranks_that_are_not_those_of_the_train_are_refused(
    ranks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        tt_round(random_cores(CUT, 0), ranks=ranks)


def test_trains_of_other_modes_cannot_be_added() -> None:
    other = TTShape(in_modes=(4, 5, 3), out_modes=(3, 4), ranks=CUT.ranks)
    message = (
        r"same modes can be added\n  where: tt_add\n  got: 4 x 5 x 3 x 3 x 4 = 720\n"
        r"  expected: 4 x 3 x 5 x 3 x 4 = 720"
    )
    with pytest.raises(ShapeError, match=message):
        tt_add(random_cores(CUT, 0), random_cores(other, 0))


@pytest.mark.usefixtures("unchecked_shapes")
def test_cores_of_clients_are_refused_where_one_train_is_meant() -> None:
    cores = random_cores(CUT, 0, clients=2)
    message = (
        r"taken one client at a time\n  where: {}\n  got: .*\n.*\n  fix: call it once a client"
    )
    with pytest.raises(ShapeError, match=message.format("tt_round")):
        tt_round(cores, ranks=CUT.ranks)
    with pytest.raises(ShapeError, match=message.format("tt_add")):
        tt_add(cores, cores)
