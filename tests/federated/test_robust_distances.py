"""Defenses by the distance of whole updates: Krum, multi-Krum, the geometric median."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from fedtt.errors import FedttError
from fedtt.federated.aggregate import AGGREGATIONS
from fedtt.federated.aggregate.aggregation import Aggregation
from fedtt.federated.aggregate.geometric_median import geometric_median_of
from fedtt.federated.aggregate.krum import krum_scores
from fedtt.params import Params

DEFENSES = ("krum", "multi-krum", "directional-krum", "geometric-median")
START = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}


def updates(count: int, *, seed: int) -> list[Params]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: torch.randn(t.shape, generator=generator) for name, t in START.items()}
        for _ in range(count)
    ]


def flat(delta: Params) -> torch.Tensor:
    return torch.cat([delta[name].flatten() for name in sorted(delta)]).double()


def aggregated(name: str, deltas: list[Params], *, trim: float = 0.1) -> torch.Tensor:
    aggregation: Aggregation = AGGREGATIONS[name](trim)
    for delta in deltas:
        aggregation = aggregation.include(delta, start=START, weight=1.0)
    return flat(aggregation.result(start=START).delta)


@given(count=st.integers(5, 9), seed=st.integers(0, 50), hostile=st.integers(1, 3))
def test_scores_are_the_sums_over_the_nearest(count: int, seed: int, hostile: int) -> None:
    hostile = min(hostile, (count - 3) // 2)
    deltas = updates(count, seed=seed)
    points = [flat(delta) for delta in deltas]
    scores = krum_scores(tuple(deltas), hostile=hostile)
    for i, score in enumerate(scores.tolist()):
        away = sorted(float((points[i] - q).square().sum()) for j, q in enumerate(points) if j != i)
        assert score == pytest.approx(sum(away[: count - hostile - 2]))


@given(count=st.integers(5, 11), seed=st.integers(0, 50))
def test_krum_is_one_update_and_multi_krum_the_mean_of_the_rest(count: int, seed: int) -> None:
    deltas = updates(count, seed=seed)
    order = krum_scores(tuple(deltas), hostile=2 if count >= 10 else 1).argsort().tolist()
    trim = 0.2 if count >= 10 else 0.1
    torch.testing.assert_close(aggregated("krum", deltas, trim=trim), flat(deltas[order[0]]))
    kept = order[: count - (2 if count >= 10 else 1)]
    mean = torch.stack([flat(deltas[i]) for i in kept]).mean(0)
    torch.testing.assert_close(aggregated("multi-krum", deltas, trim=trim), mean, atol=1e-6, rtol=0)


@given(count=st.integers(3, 8), seed=st.integers(0, 50))
def test_the_geometric_median_is_where_the_distances_sum_to_least(count: int, seed: int) -> None:
    points = torch.stack([flat(delta) for delta in updates(count, seed=seed)])

    def cost(x: object) -> float:
        return float((points - torch.as_tensor(x)).norm(dim=1).sum())

    found = cost(geometric_median_of(points).numpy())
    assert found <= minimize(cost, points.mean(0).numpy()).fun * (1 + 1e-6)
    assert found <= min(map(cost, points.numpy())) * (1 + 1e-9)


def test_of_points_on_a_line_it_is_the_middle_one() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0], [1e6]], dtype=torch.float64)
    assert float(geometric_median_of(points)) == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("lie", [1e3, -1e30, 3e38])
def test_who_lies_does_not_carry_it_away(name: str, lie: float) -> None:
    """Three of ten, wherever they stand in the round, in collusion or not."""
    honest = [{n: t + 1.0 for n, t in delta.items()} for delta in updates(7, seed=1)]
    liars = [
        {n: torch.full(t.shape, lie * (0.5 + i / 4)) for n, t in START.items()} for i in range(3)
    ]
    worst = max(float((flat(a) - flat(b)).norm()) for a, b in itertools.combinations(honest, 2))
    for deltas in ([*liars, *honest], [*honest[:4], *liars, *honest[4:]]):
        found = aggregated(name, deltas, trim=0.3)
        centre = torch.stack([flat(delta) for delta in honest]).mean(0)
        assert float((found - centre).norm()) <= worst


@pytest.mark.parametrize("name", DEFENSES)
def test_who_agrees_is_taken_at_their_word(name: str) -> None:
    (one,) = updates(1, seed=3)
    torch.testing.assert_close(aggregated(name, [one] * 6), flat(one))


@pytest.mark.parametrize("name", DEFENSES)
def test_too_few_are_refused(name: str) -> None:
    fewest = AGGREGATIONS[name](0.1).fewest
    assert fewest == (3 if name == "geometric-median" else 5)
    with pytest.raises(FedttError, match=f"at least {fewest}"):
        aggregated(name, updates(fewest - 1, seed=0))


def free_riders_in(name: str, *, length: float) -> torch.Tensor:
    """Seven clients agree a little, as clients of one task do; three send (next to) nothing."""
    honest = [{n: t + 0.5 for n, t in delta.items()} for delta in updates(7, seed=3)]
    idle = [{n: length * t for n, t in delta.items()} for delta in updates(3, seed=4)]
    return aggregated(name, [*idle, *honest], trim=0.3) / flat(mean_of(honest)).norm()


def mean_of(deltas: list[Params]) -> Params:
    return {n: torch.stack([delta[n] for delta in deltas]).mean(0) for n in START}


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-3])
def test_who_sends_next_to_nothing_is_near_to_all_but_not_in_direction(length: float) -> None:
    assert free_riders_in("multi-krum", length=length).norm() < 0.7
    assert free_riders_in("directional-krum", length=length).norm() > 0.8


@given(seed=st.integers(0, 50), which=st.integers(0, 8), factor=st.floats(1e-3, 1e3))
def test_how_long_an_update_is_chooses_nobody(seed: int, which: int, factor: float) -> None:
    deltas = updates(9, seed=seed)
    norms = sorted(float(flat(delta).norm()) for delta in deltas)
    changed = [*deltas]
    changed[which] = {n: t * factor for n, t in deltas[which].items()}
    found, other = (aggregated("directional-krum", own, trim=0.2) for own in (deltas, changed))
    torch.testing.assert_close(found / found.norm(), other / other.norm(), atol=1e-5, rtol=0)
    assert norms[0] / norms[-1] < float(other.norm() / found.norm()) < norms[-1] / norms[0]


def test_of_nothing_it_makes_nothing() -> None:
    nothing = [{n: torch.zeros(t.shape) for n, t in START.items()}] * 6
    assert not aggregated("directional-krum", nothing).any()
