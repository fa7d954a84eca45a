"""Liars who would have others named for their lies, or the server search for hours."""

import time
from collections.abc import Collection

import pytest
from tests.secure.sums import Leaving, random_inputs, terms_of, until_masked

from fedtt.federated.secure.round_keys import KEY_BYTES, clamped, key_pair
from fedtt.federated.secure.shamir import PRIME, shares_at, split_secret, value_at
from fedtt.federated.secure.share_decoding import (
    Effort,
    Recovered,
    recover_secret,
    wrong_places,
)
from fedtt.federated.secure.share_disputes import DEALT, REVEALED, blame_for
from fedtt.federated.secure.sum_client import NO_SHARE, advertise, reveal
from fedtt.federated.secure.sum_server import NO_SECRET, Gathering, Opened, open_sum
from fedtt.federated.secure.wrong_shares import wrong_shares

WORDS = 5
Revealed = dict[int, dict[int, int]]


def revealed_of(
    clients: int, threshold: int, *, gone: Collection[int] = ()
) -> tuple[Gathering, Revealed]:
    inputs = random_inputs(clients, WORDS, seed=clients)
    until = until_masked(terms_of(clients, threshold), inputs, Leaving(shares=gone))
    gathering = until.gathering.ask()
    assert gathering.asked is not None
    return gathering, {p: reveal(c, gathering.asked)[1] for p, c in until.clients.items()}


def shift(revealed: Revealed, holder: int, owners: Collection[int]) -> None:
    for owner in owners:
        revealed[holder][owner] = (revealed[holder][owner] + 1) % PRIME


def opened_with_garbage(clients: int, threshold: int, *, liars: int, cheated: int) -> Opened:
    """Of the first so many clients each deals garbage to so many, and reveals wrong shares."""
    gathering, revealed = revealed_of(clients, threshold)
    everyone = set(range(1, clients + 1))
    for liar in range(1, liars + 1):
        for holder in range(liars + 1, liars + 1 + cheated):
            revealed[holder][liar] = NO_SHARE
        shift(revealed, liar, everyone - {liar})
    return open_sum(gathering, revealed)


@pytest.mark.parametrize(("clients", "threshold"), [(5, 4), (12, 9), (20, 14)])
def test_one_liar_has_no_honest_client_named_and_the_sum_is_had(
    clients: int, threshold: int
) -> None:
    opened = opened_with_garbage(clients, threshold, liars=1, cheated=clients - threshold)
    assert opened.total is not None
    assert opened.faults == {1: REVEALED}


def test_of_more_liars_than_can_be_told_from_honest_clients_nobody_is_named() -> None:
    """Two of five, where four are enough: no secret of the other three is found."""
    opened = opened_with_garbage(5, 4, liars=2, cheated=1)
    assert (opened.total, opened.missing) == (None, NO_SECRET)
    assert not opened.faults
    assert opened.disputed


def test_more_faults_than_liars_are_no_faults() -> None:
    pairs = [(1, 2), (1, 3), (1, 4)]
    assert blame_for(pairs, lost=(), most_liars=1).faults == {1: REVEALED}
    assert blame_for((), lost=(2,), most_liars=1).faults == {2: DEALT}
    both = blame_for(pairs, lost=(5,), most_liars=1)
    assert (both.faults, both.disputed) == ({}, frozenset({1, 2, 3, 4}))


def test_one_liar_has_nobody_named_by_the_second_private_key_of_a_public_one() -> None:
    """X25519 clamps: 32 secrets have one public key. Clients 2 and 3 of twelve left; the shares of
    both that 7 reveals are of another polynomial, through eight honest shares, of another secret.
    """
    gathering, revealed = revealed_of(12, 9, gone=(2, 3))
    right = [place for place in revealed if place not in (1, 7)][:8]
    cleared = 2**248  # the lowest bit of the first byte
    bump = {**dict.fromkeys(right, 0), 0: cleared}
    added = shares_at(bump, [1, 7])
    for owner in (2, 3):
        revealed[7][owner] = (revealed[7][owner] + added[7]) % PRIME
    opened = open_sum(gathering, revealed)
    assert opened.total is not None
    assert opened.faults == {7: REVEALED}


def test_what_is_shared_is_the_one_private_key_of_its_kind() -> None:
    private = advertise(1, terms_of(3, 3)).mask.private
    assert clamped(private) == private
    for other in (bytes(KEY_BYTES), b"\xff" * KEY_BYTES, bytes(range(KEY_BYTES))):
        assert clamped(clamped(other)) == clamped(other)
        assert key_pair(clamped(other)).public == key_pair(other).public


def test_a_polynomial_is_read_from_its_lowest_coefficient() -> None:
    assert value_at([5, 3, 2], 10) == 235
    shares = split_secret(5, threshold=3, places=(1, 2, 3), below=lambda _: 1)
    assert shares == {1: 7, 2: 11, 3: 17}


def wrong_of_many(places: int, threshold: int, owners: int) -> None:
    """Of all owners one holder's shares are wrong, and of one owner all that may be."""
    base = split_secret(5, threshold=threshold, places=range(1, places + 1))
    sound = tuple(range(1, threshold + 1))
    said = {
        owner: {place: owner * share % PRIME for place, share in base.items()}
        for owner in range(1, owners + 1)
    }
    found = {owner: Recovered(secret=5 * owner, sound=sound) for owner in said}
    assert not any(wrong_shares(said, found, among=base).values())
    for shares in said.values():
        shares[places] += 1
    spoilt = set(range(threshold + 1, places + 1))
    for place in spoilt:
        del said[2][place]
    wrong = wrong_shares(said, found, among=base)
    assert wrong == {owner: spoilt if owner == 2 else {places} for owner in said}


def test_wrong_shares_of_many_are_found_together() -> None:
    wrong_of_many(9, 6, 9)


@pytest.mark.slow
def test_wrong_shares_cost_seconds_at_the_allowed_size() -> None:
    """Each alone: 222 million products. And a search of a thousand shares, by decoding."""
    started = time.process_time()
    wrong_of_many(1000, 667, 1000)
    shares = split_secret(5, threshold=667, places=range(1, 1001))
    shares |= {place: shares[place] + 1 for place in range(1, 101)}
    found = recover_secret(shares, threshold=667, fits=(5).__eq__, effort=Effort())
    assert found is not None
    assert wrong_places(shares, found, among=shares) == set(range(1, 101))
    assert time.process_time() - started < 60


def test_a_round_searches_so_much_and_no_more() -> None:
    shares = split_secret(5, threshold=4, places=range(1, 9))
    effort, tried = Effort(left=1000), []
    assert recover_secret(shares, threshold=4, fits=tried.append, effort=effort) is None
    assert effort.spent
    assert len(tried) < 50
    assert recover_secret(shares, threshold=4, fits=(5).__eq__, effort=effort) is not None
    wrong = {**shares, 1: shares[1] + 1}
    assert recover_secret(wrong, threshold=4, fits=(5).__eq__, effort=effort) is None


def test_who_was_not_searched_to_the_end_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtt.federated.secure.share_decoding.MOST_PRODUCTS_A_ROUND", 0)
    gathering, revealed = revealed_of(5, 4)
    for holder in (1, 2, 3):
        revealed[holder][5] = NO_SHARE - 1
    assert open_sum(gathering, revealed).faults == {5: DEALT}, "too few shares: nothing to search"
    gathering, revealed = revealed_of(5, 4)
    shift(revealed, 1, [5])
    opened = open_sum(gathering, revealed)
    assert (opened.total, opened.faults) == (None, {})
