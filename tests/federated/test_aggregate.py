import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import FedttError
from fedtt.federated.aggregate.weighted_mean import WeightedMean

LIKE = {"a": torch.zeros(3), "b": torch.zeros(2, 2, dtype=torch.bfloat16)}


def delta(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a": torch.randn(3, generator=generator), "b": torch.randn(2, 2, generator=generator)}


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8))
def test_equals_numpys_weighted_average(weights: list[int]) -> None:
    mean = WeightedMean()
    for seed, weight in enumerate(weights):
        mean = mean.include(delta(seed), start=LIKE, weight=weight)
    stacked = np.stack([delta(seed)["a"].numpy() for seed in range(len(weights))])
    expected = np.average(stacked, axis=0, weights=weights)
    result = mean.result(start=LIKE).delta
    np.testing.assert_allclose(result["a"].numpy(), expected, rtol=1e-5, atol=1e-7)
    assert result["b"].dtype == torch.bfloat16


def test_unequal_weights_matter() -> None:
    mean = WeightedMean().include({"a": torch.tensor([0.0])}, start=LIKE, weight=1)
    mean = mean.include({"a": torch.tensor([4.0])}, start=LIKE, weight=3)
    assert mean.result(start={"a": torch.zeros(1)}).delta["a"].item() == 3.0


def test_including_leaves_the_earlier_mean_as_it_was() -> None:
    first = WeightedMean().include(delta(0), start=LIKE, weight=2)
    first.include(delta(1), start=LIKE, weight=5)
    assert torch.allclose(first.result(start=LIKE).delta["a"], delta(0)["a"])


def test_many_small_updates_do_not_drown_in_rounding() -> None:
    # float32 sums of 100,000 terms of 0.1 are off by about 1e-3 relative; float64 sums are not.
    mean = WeightedMean()
    for _ in range(20_000):
        mean = mean.include({"a": torch.tensor([0.1])}, start=LIKE, weight=1000)
    assert mean.result(start={"a": torch.zeros(1)}).delta["a"].item() == pytest.approx(
        0.1, rel=1e-7
    )


def test_empty_and_weightless_are_refused() -> None:
    with pytest.raises(FedttError, match="no client update to average"):
        WeightedMean().result(start=LIKE)
    with pytest.raises(FedttError, match=r"positive weight\n  got: 0"):
        WeightedMean().include(delta(0), start=LIKE, weight=0)
