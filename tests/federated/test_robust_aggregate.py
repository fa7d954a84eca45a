"""Aggregations that bear clients which send anything at all."""

from fractions import Fraction
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import FedttError
from fedtt.federated.aggregate.trimmed_mean import TrimmedMean, without_defense
from fedtt.federated.aggregate.weighted_mean import WeightedMean

ORIGIN = {"w": torch.zeros(1)}


def aggregated(values: list[float], *, trim: float) -> float:
    aggregation = TrimmedMean(trim=trim)
    for value in values:
        delta = {"w": torch.tensor([value], dtype=torch.float32)}
        aggregation = aggregation.include(delta, start=ORIGIN, weight=1.0)
    return float(aggregation.result(start=ORIGIN).delta["w"])


def test_trimmed_mean_and_median_bear_one_liar() -> None:
    honest = [{"w": torch.tensor([float(value)])} for value in (1, 2, 3, 4)]
    liar = {"w": torch.tensor([1e9])}
    origin = {"w": torch.zeros(1)}

    def result(trim: float) -> float:
        aggregation = TrimmedMean(trim=trim)
        for delta in [honest[2], liar, honest[0], honest[3], honest[1]]:
            aggregation = aggregation.include(delta, start=origin, weight=1.0)
        return float(aggregation.result(start=origin).delta["w"])

    assert result(0.2) == 3.0  # the mean of 2, 3, 4
    assert result(0.5) == 3.0  # the middle one
    assert result(0.1) == 3.0  # a tenth of five is nobody, and one goes all the same


@given(
    st.lists(st.integers(-100, 100), min_size=3, max_size=9),
    st.sampled_from([0.01, 0.1, 0.2, 0.25, 0.3, 0.49, 0.5]),
    st.sampled_from([-1e30, 1e30]),
)
def test_one_liar_among_three_or_more_never_moves_it_beyond_the_honest(
    honest: list[int], trim: float, lie: float
) -> None:
    values = [float(value) for value in honest]
    found = aggregated([*values[1:], lie], trim=trim)
    assert min(values[1:]) - 1e-3 <= found <= max(values[1:]) + 1e-3


@pytest.mark.parametrize(
    ("trim", "count", "dropped"),
    [
        (0.29, 100, 29),  # int(0.29 * 100) is 28
        (0.07, 100, 7),  # int(0.07 * 100) is 7, and 0.07 * 100 is 7.000000000000001
        (0.1, 10, 1),
        (0.1, 4, 1),
        (0.1, 29, 2),
        (0.49, 3, 1),
        (0.5, 7, 3),
        (0.5, 8, 3),
    ],
)
def test_what_is_dropped_at_each_end_is_exact(trim: float, count: int, dropped: int) -> None:
    # The kept values are 2 ** i for dropped <= i < count - dropped, whose sum tells them apart.
    kept = [Fraction(2) ** i for i in range(dropped, count - dropped)]
    found = aggregated([2.0**i for i in reversed(range(count))], trim=trim)
    assert found == pytest.approx(float(sum(kept) / len(kept)), rel=1e-6)


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=12))
def test_a_trim_of_a_half_is_the_median(values: list[int]) -> None:
    found = aggregated([float(value) for value in values], trim=0.5)
    assert found == pytest.approx(median(values))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_are_refused(count: int) -> None:
    with pytest.raises(FedttError, match=rf"too few clients to trim any\n  got: {count}\n.*3"):
        aggregated([1.0] * count, trim=0.1)


def test_a_client_alone_has_nobody_to_be_defended_against() -> None:
    assert without_defense(TrimmedMean(trim=0.1)) == WeightedMean()
    plain = WeightedMean()
    assert without_defense(plain) is plain
