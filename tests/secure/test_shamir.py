"""Shares of a secret: enough give it back, fewer tell nothing."""

from collections import Counter
from itertools import combinations

import sympy
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedtt.federated.secure.shamir import PRIME, SHARE_BYTES, join_shares, split_secret


def test_the_field_holds_every_key_and_its_elements_fit_a_share() -> None:
    assert sympy.isprime(PRIME)
    assert 2**256 < PRIME < 2 ** (8 * SHARE_BYTES)


@given(data=st.data(), secret=st.integers(0, 2**256 - 1))
def test_any_shares_of_the_threshold_or_more_are_the_secret(
    data: st.DataObject, secret: int
) -> None:
    threshold = data.draw(st.integers(1, 7))
    places = data.draw(st.sets(st.integers(1, 1000), min_size=threshold, max_size=12))
    shares = split_secret(secret, threshold=threshold, places=places)
    chosen = data.draw(st.sets(st.sampled_from(sorted(places)), min_size=threshold))
    assert join_shares({place: shares[place] for place in chosen}) == secret


def test_one_share_too_few_is_another_number_and_one_wrong_share_too() -> None:
    shares = split_secret(5, threshold=3, places=range(1, 6))
    assert all(join_shares({p: shares[p] for p in two}) != 5 for two in combinations(shares, 2))
    assert join_shares({1: shares[1], 2: shares[2], 3: (shares[3] + 1) % PRIME}) != 5


def test_of_every_secret_any_two_shares_of_three_are_uniform() -> None:
    """In sixteenths of the field: chi squared of both shares together, for an extreme secret."""
    for secret in (0, 2**256 - 1):
        cells: Counter[tuple[int, ...]] = Counter()
        for _ in range(4096):
            shares = split_secret(secret, threshold=3, places=(1, 2, 3))
            cells[tuple(16 * shares[place] // PRIME for place in (1, 3))] += 1
        counts = [cells[i, j] for i in range(16) for j in range(16)]
        assert stats.chisquare(counts).pvalue > 1e-4
