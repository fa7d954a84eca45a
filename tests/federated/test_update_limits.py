"""Limits of a single update: its length, and its share of the weight."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtt.federated.aggregate.aggregation import Aggregation
from fedtt.federated.aggregate.norm_bound import MedianNormBound, NormBound
from fedtt.federated.aggregate.trimmed_mean import TrimmedMean
from fedtt.federated.aggregate.update_limits import UpdateLimits
from fedtt.federated.aggregate.weight_cap import WeightCap, clients_at
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.params import Params

START = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
WEIGHTS = st.lists(st.integers(1, 10**12) | st.integers(1, 20), min_size=1, max_size=9)
SHARES = st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.5, 0.7])


def updates(count: int) -> list[Params]:
    generator = torch.Generator().manual_seed(3)
    return [
        {name: (k + 1) * torch.randn(t.shape, generator=generator) for name, t in START.items()}
        for k in range(count)
    ]


def flat(delta: Params) -> torch.Tensor:
    return torch.cat([delta[name].flatten() for name in sorted(delta)]).double()


def outcome(
    aggregation: Aggregation, deltas: Sequence[Params], weights: Sequence[float]
) -> torch.Tensor:
    for delta, weight in zip(deltas, weights, strict=True):
        aggregation = aggregation.include(delta, start=START, weight=weight)
    return flat(aggregation.result(start=START).delta)


@dataclass(frozen=True)
class Weights:
    """A toy that hands out what weights it was given, by client."""

    fewest = 1
    linear = True
    given: tuple[tuple[int, float], ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "Weights":
        return replace(self, given=(*self.given, (int(delta["client"]), weight)))

    def result(self, *, start: Params) -> "Weights":
        return self


@given(weights=WEIGHTS, share=SHARES)
def test_nobody_holds_more_than_the_share_and_nothing_changes_without_need(
    weights: list[int], share: float
) -> None:
    cap = WeightCap(share=share, inner=Weights())
    for client, weight in enumerate(weights):
        delta = {"client": torch.tensor(client)}
        cap = cap.include(delta, start={}, weight=float(weight))
        assert client + 1 - len(cap.inner.given) <= clients_at(share)  # all that it keeps
    given = dict(cap.result(start={}).given)
    assert given.keys() == set(range(len(weights)))
    total, changed = sum(given.values()), [c for c, w in enumerate(weights) if given[c] != w]
    if len(weights) < 1 / Fraction(str(share)):  # too few for that: all alike
        assert set(given.values()) == {min(weights)}
        return
    assert max(given.values()) <= share * total * (1 + 1e-12)
    assert bool(changed) == (max(weights) > Fraction(str(share)) * sum(weights))
    for client in changed:  # cut to the share, and not below it
        assert given[client] < weights[client]
        assert given[client] == pytest.approx(share * total)


def test_by_hand() -> None:
    """A million beside 10, 20 and 30 counts 60, as all of them together."""
    deltas, weights = updates(4), (10.0, 1e6, 20.0, 30.0)
    capped = outcome(WeightCap(share=0.5, inner=WeightedMean()), deltas, weights)
    by_hand = outcome(WeightedMean(), deltas, (10.0, 60.0, 20.0, 30.0))
    torch.testing.assert_close(capped, by_hand)
    assert float((capped - outcome(WeightedMean(), deltas, weights)).norm()) > 0.1


@given(scale=st.floats(0.01, 1e9), bound=st.floats(0.01, 10))
def test_a_long_update_is_shortened_and_a_short_one_is_left_alone(
    scale: float, bound: float
) -> None:
    (delta,) = updates(1)
    long = {name: scale * tensor for name, tensor in delta.items()}
    got = outcome(NormBound(bound=bound, inner=WeightedMean()), [long], [1.0])
    length = float(flat(long).norm())
    if length <= bound:
        assert torch.equal(got, flat(long))
    else:
        assert float(got.norm()) == pytest.approx(bound, rel=1e-6)
        torch.testing.assert_close(got / bound, flat(long) / length, atol=1e-6, rtol=1e-6)


def test_the_bound_of_a_round_is_its_median_norm() -> None:
    deltas, weights = updates(5), (1.0, 2.0, 3.0, 4.0, 5.0)
    bound = median(float(flat(delta).norm()) for delta in deltas)
    relative = outcome(MedianNormBound(inner=WeightedMean()), deltas, weights)
    fixed = outcome(NormBound(bound=bound, inner=WeightedMean()), deltas, weights)
    torch.testing.assert_close(relative, fixed)
    assert float((relative - outcome(WeightedMean(), deltas, weights)).norm()) > 0.1


def test_limits_come_before_the_aggregation_and_take_what_it_takes() -> None:
    inner = TrimmedMean(trim=0.1)
    assert UpdateLimits().around(inner) is inner
    both = UpdateLimits(norm=2.0, weight_share=0.5).around(inner)
    assert both == NormBound(bound=2.0, inner=WeightCap(share=0.5, inner=inner))
    assert (both.fewest, both.linear) == (3, False)
    assert UpdateLimits(median_norm=True).around(WeightedMean()).fewest == 3
    assert UpdateLimits(weight_share=0.5).around(WeightedMean()).linear


@pytest.mark.parametrize("limits", [UpdateLimits(norm=0.5), UpdateLimits(median_norm=True)])
def test_an_update_a_million_times_too_long_moves_the_mean_no_further_than_an_honest_one(
    limits: UpdateLimits,
) -> None:
    *honest, hostile = updates(6)
    honest = [{n: t / flat(d).norm().float() for n, t in d.items()} for d in honest]
    for scale in (1.0, 1e6):
        sent = {name: -scale * tensor for name, tensor in hostile.items()}
        got = outcome(limits.around(WeightedMean()), [*honest, sent], [1.0] * 6)
        without = outcome(limits.around(WeightedMean()), honest, [1.0] * 5)
        assert float((got - without * 5 / 6).norm()) <= 1 / 6 + 1e-6
