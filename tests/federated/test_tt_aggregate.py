"""TT-rounding aggregation against dense averaging."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtt.federated.aggregate.tt_rounding import FAN_IN, TTRounding
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.tt import CrossLayerShape, init_cores, to_dense, tt_shape, tt_svd

SHAPE = tt_shape(48, 12, rank=3, in_modes=[4, 4, 3], out_modes=[4, 3])
NAMES = [f"up.core_{j}" for j in range(SHAPE.num_cores)]


def start(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cores = init_cores(SHAPE, std=0.1, generator=generator)
    return {**dict(zip(NAMES, cores, strict=True)), "head": torch.zeros(3)}


def deltas(count: int, *, size: float, seed: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {name: size * float(core.std()) for name, core in start().items() if name != "head"}
    return [
        {
            name: sizes.get(name, 1.0) * torch.randn(tensor.shape, generator=generator)
            for name, tensor in start().items()
        }
        for _ in range(count)
    ]


def aggregate(aggregation, updates, weights):
    begin = start()
    for delta, weight in zip(updates, weights, strict=True):
        aggregation = aggregation.include(delta, start=begin, weight=weight)
    delta = aggregation.result(start=begin).delta
    return {name: begin[name] + delta[name] for name in begin}


def matrix(params) -> torch.Tensor:
    return to_dense([params[name].double() for name in NAMES], split=SHAPE.split)


def exact(updates, weights) -> torch.Tensor:
    begin = start()
    total = sum(
        weight * matrix({name: begin[name] + delta[name] for name in begin})
        for delta, weight in zip(updates, weights, strict=True)
    )
    return total / sum(weights)


@given(
    count=st.integers(1, 2 * FAN_IN + 1),
    size=st.sampled_from([0.01, 0.2, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_it_is_the_dense_mean_followed_by_tt_svd(count: int, size: float, seed: int) -> None:
    updates = deltas(count, size=size, seed=seed)
    weights = [1.0 + index for index in range(count)]
    mean = exact(updates, weights)
    best = to_dense(tt_svd(mean, SHAPE), split=SHAPE.split)
    error = torch.linalg.vector_norm(mean - matrix(aggregate(TTRounding(), updates, weights)))
    reference = torch.linalg.vector_norm(mean - best)
    core_wise = torch.linalg.vector_norm(mean - matrix(aggregate(WeightedMean(), updates, weights)))
    scale = torch.linalg.vector_norm(mean)
    # Float32 cores on both sides: equal up to their rounding, and never above core-wise averaging.
    assert error <= reference + 1e-5 * scale
    assert error <= core_wise + 1e-5 * scale


def test_equal_updates_leave_the_gauge_alone() -> None:
    (update,) = deltas(1, size=0.2, seed=1)
    begin = start()
    after = aggregate(TTRounding(), [update] * 4, [1.0, 2.0, 3.0, 4.0])
    for name in begin:
        torch.testing.assert_close(after[name], begin[name] + update[name], rtol=1e-5, atol=1e-6)


def test_the_rounded_cores_are_in_the_gauge_of_the_mean_cores() -> None:
    updates, weights = deltas(5, size=0.3, seed=6), [1.0] * 5
    rounded, averaged = (aggregate(a, updates, weights) for a in (TTRounding(), WeightedMean()))
    assert not torch.equal(rounded[NAMES[0]], averaged[NAMES[0]])
    for name in NAMES:
        gap = torch.linalg.vector_norm(rounded[name] - averaged[name])
        assert gap < 0.5 * torch.linalg.vector_norm(averaged[name])


def test_what_is_no_core_is_averaged_as_usual() -> None:
    updates, weights = deltas(5, size=0.2, seed=2), [1.0, 2.0, 3.0, 4.0, 5.0]
    rounded, averaged = (aggregate(a, updates, weights) for a in (TTRounding(), WeightedMean()))
    assert torch.equal(rounded["head"], averaged["head"])


def test_a_large_cohort_keeps_small_trains() -> None:
    begin, aggregation = start(), TTRounding()
    for delta in deltas(100, size=0.2, seed=3):
        aggregation = aggregation.include(delta, start=begin, weight=1.0)
        held = sum(core.numel() for train in aggregation.pending["up"] for core in train)
        # At most the compressed sum (ranks 4, 12, 12, 3) and FAN_IN single trains.
        assert held <= 16 + 192 + 432 + 144 + 9 + FAN_IN * SHAPE.num_parameters


def test_the_mismatch_of_core_wise_averaging_is_real() -> None:
    """With 20 % perturbations the mean of cores misses the mean matrix; rounding misses less."""
    updates, weights = deltas(5, size=0.2, seed=4), [1.0] * 5
    mean = exact(updates, weights)
    scale = torch.linalg.vector_norm(mean)
    core_wise = torch.linalg.vector_norm(mean - matrix(aggregate(WeightedMean(), updates, weights)))
    rounded = torch.linalg.vector_norm(mean - matrix(aggregate(TTRounding(), updates, weights)))
    assert core_wise / scale > 0.02
    assert rounded < core_wise


@pytest.mark.parametrize("trained", range(SHAPE.num_cores))
def test_one_trained_core_averages_exactly(trained: int) -> None:
    name = NAMES[trained]
    updates = [
        {n: d if n == name else torch.zeros_like(d) for n, d in delta.items()}
        for delta in deltas(5, size=0.5, seed=5)
    ]
    weights = [1.0, 2.0, 3.0, 4.0, 5.0]
    mean = exact(updates, weights)
    error = torch.linalg.vector_norm(mean - matrix(aggregate(WeightedMean(), updates, weights)))
    assert error < 1e-5 * torch.linalg.vector_norm(mean)


def test_a_train_over_layers_is_rounded_to_its_own_ranks() -> None:
    """Modes input, layer, projection, output; what is averaged are the matrices of all of them."""
    shape = CrossLayerShape(in_sizes=(6,), layers=4, projections=2, out_sizes=(5,), ranks=(3, 3, 3))
    names = [f"layers.0.q_proj.metatt_cores.default.core_{index}" for index in range(4)]
    generator = torch.Generator().manual_seed(0)
    begin = {
        name: torch.randn(size, generator=generator)
        for name, size in zip(names, shape.core_shapes, strict=True)
    }
    clients = [
        {name: torch.randn(core.shape, generator=generator) for name, core in begin.items()}
        for _ in range(3)
    ]

    def matrices(params: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.einsum("aib,blc,cpd,doe->lpio", *(params[name].double() for name in names))

    mean = sum(matrices({n: begin[n] + delta[n] for n in names}) for delta in clients) / 3
    errors, ranks = {}, {}
    for kind in (TTRounding, WeightedMean):
        aggregation = kind()
        for delta in clients:
            aggregation = aggregation.include(delta, start=begin, weight=2.0)
        change = aggregation.result(start=begin).delta
        after = {name: begin[name] + change[name] for name in names}
        ranks[kind] = [after[name].shape for name in names]
        errors[kind] = torch.linalg.vector_norm(matrices(after) - mean)
    assert ranks[TTRounding] == ranks[WeightedMean] == [torch.Size(s) for s in shape.core_shapes]
    # Theorem: the error of TT-SVD is below the norm of what all three unfoldings are cut off.
    whole = mean.permute(2, 0, 1, 3)  # (6, 4, 2, 5)
    tails = [
        torch.linalg.svdvals(whole.reshape(rows, -1))[3:].square().sum() for rows in (6, 24, 48)
    ]
    assert errors[TTRounding] <= torch.sqrt(sum(tails)) * (1 + 1e-5)
    assert errors[TTRounding] < 0.9 * errors[WeightedMean]
