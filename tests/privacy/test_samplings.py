"""Who is drawn: as often as is said, independently or so many exactly, and unforeseeably."""

import math

import numpy as np
import pytest

from fedtt.federated.privacy.client_privacy import ClientPrivacy
from fedtt.federated.privacy.keystream import secret_streams

POPULATION, EXPECTED, ROUNDS = 20, 7, 4000


def drawn(sampling: str, *, secret: bytes = bytes(32), expected: int = EXPECTED) -> np.ndarray:
    """(rounds, population): who takes part in which."""
    privacy = ClientPrivacy(
        sampling=sampling,
        population=POPULATION,
        expected=expected,
        streams=secret_streams(secret),
    )
    table = np.zeros((ROUNDS, POPULATION), dtype=bool)
    for index in range(ROUNDS):
        places = privacy.positions(index)
        assert list(places) == sorted(set(places))
        table[index, list(places)] = True
    return table


@pytest.mark.parametrize("sampling", ["poisson", "fixed"])
def test_every_client_takes_part_in_its_share_of_the_rounds(sampling: str) -> None:
    q = EXPECTED / POPULATION
    spread = math.sqrt(q * (1 - q) / ROUNDS)
    assert np.abs(drawn(sampling).mean(axis=0) - q).max() < 4 * spread


def test_poisson_draws_each_by_itself() -> None:
    table = drawn("poisson")
    q = EXPECTED / POPULATION
    sizes = table.sum(axis=1)
    # Variance N q (1 - q) of the size; its own spread over 4,000 rounds is 2.2 %.
    assert abs(sizes.var() / (POPULATION * q * (1 - q)) - 1) < 0.1
    pairs = np.corrcoef(table.T.astype(float))[np.triu_indices(POPULATION, 1)]
    assert np.abs(pairs).max() < 4.5 / math.sqrt(ROUNDS)


def test_fixed_draws_so_many_each_pair_as_often_as_another() -> None:
    table = drawn("fixed")
    assert set(table.sum(axis=1)) == {EXPECTED}
    both = (table.T.astype(float) @ table / ROUNDS)[np.triu_indices(POPULATION, 1)]
    expected = EXPECTED * (EXPECTED - 1) / (POPULATION * (POPULATION - 1))
    assert np.abs(both - expected).max() < 4.5 * math.sqrt(expected / ROUNDS)


@pytest.mark.parametrize("sampling", ["poisson", "fixed"])
def test_everyone_is_everyone(sampling: str) -> None:
    assert drawn(sampling, expected=POPULATION).all()


@pytest.mark.parametrize("sampling", ["poisson", "fixed"])
def test_the_secret_decides_and_it_alone(sampling: str) -> None:
    first = drawn(sampling)
    np.testing.assert_array_equal(first, drawn(sampling))
    other = drawn(sampling, secret=bytes(31) + b"\1")
    q = EXPECTED / POPULATION
    assert abs((first == other).mean() - (q**2 + (1 - q) ** 2)) < 0.02  # as if by chance
