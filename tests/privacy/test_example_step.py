"""One step of DP-SGD: what an example can change, which batches there are, and the noise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedtt.federated.privacy.example_step import (
    ExampleMechanism,
    bytes_of,
    clipped_sum,
    streams_of_task,
)
from fedtt.federated.privacy.fixed_point import GRID
from fedtt.federated.privacy.keystream import secret_streams

STREAMS = secret_streams(bytes(range(32)))


def mechanism(**changes: object) -> ExampleMechanism:
    table = {
        "clipping_norm": 0.5,
        "noise_multiplier": 2.0,
        "examples": 100,
        "batch_size": 10,
        "streams": STREAMS,
        **changes,
    }
    return ExampleMechanism(**table)


@given(
    exponents=st.lists(st.integers(-20, 20), min_size=1, max_size=6),
    neighbor=st.integers(-30, 35),
    norm=st.sampled_from([1e-3, 0.7, 1.0, 50.0]),
    seed=st.integers(0, 10**6),
)
def test_a_neighbor_changes_the_sum_by_at_most_the_norm(
    exponents: list[int], neighbor: int, norm: float, seed: int
) -> None:
    """Data sets with and without one example, of gradients of any length: exactly, in steps."""
    stream = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(exponents) + 1, 33, generator=stream)
    rows *= torch.tensor([10.0**e for e in [*exponents, neighbor]])[:, None]
    whole = clipped_sum(rows, clipping_norm=norm)
    without = clipped_sum(rows[:-1], clipping_norm=norm)
    change = [int(number) for number in whole - without]
    assert sum(number * number for number in change) <= GRID**2


def test_the_bound_is_reached_and_a_short_gradient_is_left_as_it_is() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.03, -0.04]])
    whole = clipped_sum(rows, clipping_norm=1.0).double() / GRID
    expected = torch.tensor([0.6 + 0.03, 0.8 - 0.04], dtype=torch.float64)
    torch.testing.assert_close(whole, expected, atol=2e-6, rtol=0)  # the margin's


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_a_gradient_that_is_not_finite_counts_as_none(bad: float) -> None:
    """Or one example would show in whether training goes on; huge ones are clipped."""
    rows = torch.tensor([[0.1, 0.2], [bad, 0.0]])
    found = clipped_sum(rows, clipping_norm=1.0)
    added = found - clipped_sum(rows[:1], clipping_norm=1.0)
    assert int(added[1]) == 0
    assert 0 <= int(added[0]) <= GRID
    assert (int(added[0]) > 0) == (bad == 3e38)


def test_the_noise_is_normal_and_as_wide_as_it_says() -> None:
    """Of a step without examples: standard deviation 2 * 0.5 / 10, whatever the batch was."""
    own = mechanism()
    drawn = torch.cat(
        [own.release(torch.zeros(5000, dtype=torch.int64), step=step) for step in range(4)]
    ).numpy()
    assert stats.kstest(drawn, "norm", args=(0, 0.1)).pvalue > 1e-3
    assert abs(drawn.std() / 0.1 - 1) < 0.02
    assert abs(np.corrcoef(drawn[:5000], drawn[5000:10_000])[0, 1]) < 0.05


def test_the_mean_has_a_fixed_denominator() -> None:
    """Three examples of an expected ten are divided by ten."""
    rows = torch.full((3, 1), 0.25)
    found = mechanism(noise_multiplier=1e-30).release(clipped_sum(rows, clipping_norm=0.5), step=0)
    torch.testing.assert_close(found, torch.tensor([0.075]))


def test_batches_are_poisson_samples() -> None:
    """Each example with probability 0.1 by itself: their number is binomial, empty ones too."""
    own = mechanism(batch_size=2)  # 100 examples: one batch in 7.5 is empty
    batches = [own.batch(step) for step in range(3000)]
    sizes = np.array([len(batch) for batch in batches])
    expected = stats.binom.pmf(np.arange(8), 100, 0.02) * 3000
    seen = np.bincount(np.minimum(sizes, 7), minlength=8)
    expected[7] = 3000 - expected[:7].sum()
    assert stats.chisquare(seen, expected).pvalue > 1e-3
    assert seen[0] > 300
    counts = np.bincount(np.concatenate(batches), minlength=100)
    assert stats.chisquare(counts).pvalue > 1e-3
    together = sum(0 in batch and 1 in batch for batch in batches)
    assert together < 10  # 1.2 on average, were they drawn by themselves


def test_fewer_examples_than_a_batch_are_all_in_it() -> None:
    own = mechanism(examples=4, batch_size=10)
    assert own.expected == 4
    assert [list(own.batch(step)) for step in range(2)] == [[0, 1, 2, 3]] * 2


def test_a_task_has_the_same_noise_again_and_another_one_other_noise() -> None:
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    moved = {"a": torch.tensor([1.0]), "b": torch.tensor([2.0, 3.0])}  # the same bytes in a row

    def noise(parts: list[bytes]) -> torch.Tensor:
        own = mechanism(streams=streams_of_task(STREAMS, parts))
        return own.release(torch.zeros(50, dtype=torch.int64), step=1)

    first = noise([b"round 1", *bytes_of(start)])
    assert torch.equal(first, noise([b"round 1", *bytes_of(start)]))
    for other in ([b"round 2", *bytes_of(start)], [b"round 1", *bytes_of(moved)]):
        assert not torch.equal(first, noise(other))
