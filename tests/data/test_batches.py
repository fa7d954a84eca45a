import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.data import epoch_steps, evaluation_batches, step_batches
from fedtt.errors import ConfigError, DataError

SIZES = st.integers(1, 40)


LENGTHS = st.lists(st.integers(1, 99), min_size=1, max_size=60)


@given(lengths=LENGTHS, batch=SIZES, passes=st.integers(0, 4), seed=st.integers(0, 2**62))
def test_every_pass_holds_every_example_once(
    lengths: list[int], batch: int, passes: int, seed: int
) -> None:
    count = len(lengths)
    steps = epoch_steps(count, batch, passes)
    batches = list(step_batches(lengths, batch_size=batch, steps=steps, seed=seed))
    assert len(batches) == steps
    flat = np.concatenate([np.empty(0, np.int64), *batches])
    for start in range(0, len(flat), count):
        assert sorted(flat[start : start + count]) == list(range(count))
    assert len(flat) == passes * count
    assert all(1 <= len(indices) <= batch for indices in batches)
    per_pass = epoch_steps(count, batch, 1)
    assert all(len(indices) == batch for i, indices in enumerate(batches, 1) if i % per_pass)


def test_batches_gather_similar_lengths_and_come_in_no_order_of_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=1600)
    batches = list(step_batches(lengths, batch_size=16, steps=100, seed=1))
    longest = np.array([lengths[batch].max() for batch in batches])
    padding = 1 - lengths.sum() / (16 * longest).sum()
    assert padding < 0.15  # batches of random examples: 0.42
    later_is_longer = np.corrcoef(np.arange(100), longest)[0, 1]
    assert abs(later_is_longer) < 0.3  # no order: sd 0.1


def test_clients_that_share_a_seed_read_long_batches_in_the_same_steps() -> None:
    def longest(seed: int, count: int, shared: int | None) -> np.ndarray:
        lengths = np.random.default_rng(seed).integers(5, 60, size=count)
        steps = step_batches(lengths, batch_size=4, steps=70, seed=seed, shared_seed=shared)
        return np.array([lengths[batch].max() for batch in steps])

    together = np.corrcoef(longest(1, 400, 9), longest(2, 290, 9))[0, 1]
    apart = np.corrcoef(longest(1, 400, None), longest(2, 290, None))[0, 1]
    assert together > 0.85
    assert abs(apart) < 0.4  # sd 1 / sqrt(70) = 0.12


@given(lengths=LENGTHS, batch=SIZES, steps=st.integers(0, 30), more=st.integers(0, 30))
def test_more_steps_only_append(lengths: list[int], batch: int, steps: int, more: int) -> None:
    short = list(step_batches(lengths, batch_size=batch, steps=steps, seed=5))
    long = list(step_batches(lengths, batch_size=batch, steps=steps + more, seed=5))
    assert len(short) == steps
    assert all(np.array_equal(a, b) for a, b in zip(short, long, strict=False))


def test_passes_and_seeds_differ() -> None:
    first, second = step_batches([7] * 50, batch_size=50, steps=2, seed=0)
    (other,) = step_batches([7] * 50, batch_size=50, steps=1, seed=1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_first_batches_are_uniform() -> None:
    hits = np.zeros(10)
    for seed in range(2000):
        hits[next(iter(step_batches(range(10), batch_size=3, steps=1, seed=seed)))] += 1
    # Binomial(2000, .3): 600 +- 20.5; five of them.
    assert np.abs(hits - 600).max() < 103


def test_epoch_steps_counts_the_partial_batch() -> None:
    assert epoch_steps(33, 16, 2) == 6  # 2 * (16 + 16 + 1)
    assert epoch_steps(32, 16, 2) == 4


@given(lengths=st.lists(st.integers(1, 512), max_size=60), batch=SIZES)
def test_evaluation_holds_every_index_once_shortest_first(lengths: list[int], batch: int) -> None:
    batches = list(evaluation_batches(lengths, batch))
    order = [int(i) for indices in batches for i in indices]
    assert order == sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    assert all(len(indices) == batch for indices in batches[:-1])


def test_impossible_counts_are_refused_at_the_call() -> None:
    with pytest.raises(DataError, match=r"no example to make batches of(.|\n)*got: 0 examples"):
        step_batches([], batch_size=4, steps=1, seed=0)
    with pytest.raises(ConfigError, match=r"batch size is too small(.|\n)*got: 0"):
        step_batches([7] * 4, batch_size=0, steps=1, seed=0)
    with pytest.raises(ConfigError, match=r"batch size is too small(.|\n)*got: -1"):
        evaluation_batches([3], -1)
    with pytest.raises(ConfigError, match=r"number of steps is negative(.|\n)*got: -1"):
        step_batches([7] * 4, batch_size=4, steps=-1, seed=0)
    with pytest.raises(ConfigError, match=r"number of epochs is negative(.|\n)*got: -2"):
        epoch_steps(4, 4, -2)
