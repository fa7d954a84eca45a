"""Mode sizes: any size has balanced modes, the published pairs have theirs."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import ShapeError
from fedtt.tt import balanced_modes
from fedtt.tt.modes import format_product, published_modes


def smallest_sum_by_search(size: int, count: int) -> int:
    divisors = [n for n in range(2, size + 1) if size % n == 0]
    choices = itertools.combinations_with_replacement(divisors, count)
    return min(sum(choice) for choice in choices if math.prod(choice) == size)


def num_prime_factors(size: int) -> int:
    return sum(1 for n in range(2, size + 1) for _ in range(_multiplicity(size, n)))


def _multiplicity(size: int, n: int) -> int:
    if any(n % m == 0 for m in range(2, n)):
        return 0
    return next(power for power in itertools.count() if size % n ** (power + 1))


@given(st.integers(2, 200_000))
def test_balanced_modes_multiply_to_the_size_and_fall(size: int) -> None:
    modes = balanced_modes(size)
    assert math.prod(modes) == size
    assert list(modes) == sorted(modes, reverse=True)
    assert min(modes) >= 2


@given(st.integers(2, 400))
def test_balanced_modes_have_the_wanted_number_and_the_smallest_sum(size: int) -> None:
    modes = balanced_modes(size)
    wanted = max(1, round(math.log(size, 8)))
    assert len(modes) == min(wanted, num_prime_factors(size))
    assert sum(modes) == smallest_sum_by_search(size, len(modes))


@pytest.mark.parametrize(
    ("size", "modes"),
    [
        (1, (1,)),
        (7, (7,)),
        (64, (8, 8)),
        (288, (8, 6, 6)),
        (384, (8, 8, 6)),
        (576, (9, 8, 8)),
        (768, (12, 8, 8)),
        (2042, (1021, 2)),
        (2048, (8, 8, 8, 4)),
        (4096, (8, 8, 8, 8)),
        (7919, (7919,)),
        (128_256, (167, 4, 4, 4, 4, 3)),
        (2 * 1_000_000_007, (1_000_000_007, 2)),
    ],
)
def test_balanced_modes_of(size: int, modes: tuple[int, ...]) -> None:
    assert balanced_modes(size) == modes


@pytest.mark.parametrize("size", [0, -8])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ShapeError, match=rf"must be at least 1\n  got: {size}"):
        balanced_modes(size)


@pytest.mark.parametrize(
    ("pair", "in_modes", "out_modes"),
    [
        ((768, 64), (8, 8, 12), (8, 8)),
        ((64, 768), (8, 8), (12, 8, 8)),
        ((1024, 64), (4, 4, 8, 8), (8, 8)),
        ((64, 1024), (8, 8), (8, 8, 4, 4)),
        ((4096, 64), (16, 16, 16), (4, 4, 4)),
        ((64, 4096), (4, 4, 4), (16, 16, 16)),
        ((5120, 64), (5, 8, 8, 16), (8, 8)),
        ((64, 5120), (8, 8), (16, 8, 8, 5)),
        ((8192, 64), (8, 16, 8, 8), (8, 8)),
        ((64, 8192), (8, 8), (8, 8, 16, 8)),
        ((768, 768), (12, 8, 8), (8, 8, 12)),
    ],
)
def test_published_modes_and_their_mirror(
    pair: tuple[int, int], in_modes: tuple[int, ...], out_modes: tuple[int, ...]
) -> None:
    assert published_modes(*pair) == (in_modes, out_modes)
    assert (math.prod(in_modes), math.prod(out_modes)) == pair


def test_other_pairs_are_not_published() -> None:
    assert published_modes(768, 32) is None


def test_format_product() -> None:
    assert format_product((8, 8, 12)) == "8 x 8 x 12 = 768"
