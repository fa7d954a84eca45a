"""Clipping bounds what a client can change, exactly; the noise is what it says it is."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedtt import params as p
from fedtt.federated.privacy.clipped_sum import ClippedSum
from fedtt.federated.privacy.fixed_point import (
    GRID,
    add_gaussian,
    clip_to_grid,
    from_grid,
    gaussian_steps,
    norm_of,
)
from fedtt.federated.privacy.keystream import secret_streams

STREAMS = secret_streams(bytes(range(32)))
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NORMS = st.floats(1e-12, 1e12)


def update_of(numbers: list[float]) -> dict[str, torch.Tensor]:
    """Two tensors, so that a norm of each by itself would not be the whole update's."""
    half = len(numbers) // 2
    tensors = {"a": numbers[:half], "b": numbers[half:]}
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in tensors.items()}


UPDATES = st.lists(NUMBERS, min_size=2, max_size=12).map(update_of)


def exact_norm_squared(steps: p.Params) -> int:
    return sum(int(value) ** 2 for tensor in steps.values() for value in tensor.flatten())


@given(update=UPDATES, norm=NORMS)
def test_no_update_is_longer_than_the_norm_to_the_last_digit(update: p.Params, norm: float) -> None:
    assert exact_norm_squared(clip_to_grid(update, clipping_norm=norm)) <= GRID**2


@pytest.mark.parametrize("size", [3, 1000, 300_000])
@pytest.mark.parametrize("length", [1 - 1e-9, 1.0, 1 + 1e-9, 1e30])
def test_nor_is_one_of_many_numbers_at_the_edge(size: int, length: float) -> None:
    numbers = torch.randn(size, generator=torch.Generator().manual_seed(size)).double()
    update = {"a": (numbers / numbers.norm() * length)}
    steps = clip_to_grid(update, clipping_norm=1.0)
    squares = steps["a"].numpy().astype(object) ** 2
    assert int(squares.sum()) <= GRID**2
    assert math.sqrt(int(squares.sum())) > 0.99999 * GRID  # and no shorter than it has to be


def test_parts_of_a_step_are_cut_off_not_rounded() -> None:
    steps = clip_to_grid({"a": torch.tensor([0.75, -0.75, 1.75]).double() / GRID}, clipping_norm=1)
    assert steps["a"].tolist() == [0, 0, 1]


@given(update=UPDATES, norm=NORMS)
def test_what_is_short_enough_is_left_as_it_is_and_what_is_longer_keeps_its_direction(
    update: p.Params, norm: float
) -> None:
    structure = p.structure_of(update)
    steps = clip_to_grid(update, clipping_norm=norm)
    back = from_grid(steps, step=norm / GRID, structure=structure)
    factor = min(1.0, norm / norm_of(update)) if norm_of(update) else 1.0
    for name, tensor in update.items():
        expected = (tensor.double() * factor).float()
        torch.testing.assert_close(back[name], expected, rtol=3e-6, atol=float(2 * norm / GRID))


@given(
    updates=st.lists(UPDATES, min_size=1, max_size=5).filter(
        lambda updates: len({tuple(len(t) for t in u.values()) for u in updates}) == 1
    ),
    norm=NORMS,
    data=st.data(),
)
def test_one_client_more_or_less_changes_the_sum_by_one_norm_at_most(
    updates: list[p.Params], norm: float, data: st.DataObject
) -> None:
    """Neighbors by construction: the sum with everybody, and without any one of them."""
    left_out = data.draw(st.integers(0, len(updates) - 1))

    def summed(chosen: list[p.Params]) -> ClippedSum:
        total = ClippedSum(clipping_norm=norm)
        for update in chosen:
            total = total.include(update)
        return total

    whole = summed(updates)
    rest = summed([update for index, update in enumerate(updates) if index != left_out])
    change = p.subtract(whole.total, rest.total) if rest.total else whole.total
    assert exact_norm_squared(change) <= GRID**2
    assert abs(whole.balance - rest.balance) == 1


def test_a_sum_is_the_same_in_every_order() -> None:
    generator = torch.Generator().manual_seed(1)
    updates = [{"a": torch.randn(50, generator=generator) * scale} for scale in (1e-3, 1, 9, 1e4)]
    sums = []
    for order in (updates, updates[::-1]):
        total = ClippedSum(clipping_norm=0.7)
        for update in order:
            total = total.include(update)
        sums.append(total.total["a"])
    assert torch.equal(*sums)


def test_the_noise_is_gaussian_and_as_wide_as_it_says() -> None:
    drawn = gaussian_steps(STREAMS("statistics"), 200_000, deviation=1.7 * GRID) / (1.7 * GRID)
    assert abs(drawn.mean()) < 4.5 / math.sqrt(drawn.size)
    assert abs(drawn.std() - 1) < 4.5 / math.sqrt(2 * drawn.size)
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(drawn)) < 4.5 * math.sqrt(24 / drawn.size)
    half = drawn.size // 2  # both numbers of a pair are of the same words
    assert abs(np.corrcoef(drawn[:half], drawn[half:])[0, 1]) < 4.5 / math.sqrt(half)


def test_the_tails_are_there() -> None:
    """Of two million, 127 are expected beyond four standard deviations."""
    drawn = gaussian_steps(STREAMS("tails"), 2_000_000, deviation=float(GRID)) / GRID
    assert 80 < (np.abs(drawn) > 4).sum() < 180


def test_noise_is_rounded_and_every_last_digit_occurs() -> None:
    drawn = gaussian_steps(STREAMS("digits"), 64_000, deviation=float(GRID))
    counts = np.bincount(drawn % 64, minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert set(gaussian_steps(STREAMS("small"), 10_000, deviation=0.8)) == {-3, -2, -1, 0, 1, 2, 3}


def test_every_number_has_noise_of_its_own_where_nobody_was_heard_too() -> None:
    structure = p.structure_of({"b": torch.zeros(3, 5), "a": torch.zeros(7)})
    noisy = add_gaussian({}, structure=structure, stream=STREAMS("n"), deviation=float(GRID))
    values = torch.cat([tensor.flatten() for tensor in noisy.values()])
    assert len(set(values.tolist())) == 22
    again = add_gaussian(noisy, structure=structure, stream=STREAMS("n"), deviation=float(GRID))
    assert all(torch.equal(again[name], 2 * noisy[name]) for name in noisy)


def test_the_types_are_those_of_the_parameters() -> None:
    structure = p.structure_of({"a": torch.zeros(2, dtype=torch.bfloat16), "b": torch.zeros(1)})
    steps = {"a": torch.tensor([GRID, -GRID]), "b": torch.tensor([3 * GRID])}
    back = from_grid(steps, step=0.5 / GRID, structure=structure)
    assert p.structure_of(back) == structure
    assert back["a"].tolist() == [0.5, -0.5]
    assert back["b"].tolist() == [1.5]
