"""Clients that lie about shares: the sum all the same where it can be had, and who lied."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.secure.sums import (
    Leaving,
    begin_gathering,
    random_inputs,
    terms_of,
    until_masked,
)

from fedtt.federated.secure.ring_encoding import Words
from fedtt.federated.secure.shamir import PRIME, split_secret
from fedtt.federated.secure.share_decoding import (
    Effort,
    decode_shares,
    liars_borne,
    recover_secret,
    wrong_places,
)
from fedtt.federated.secure.share_disputes import DEALT, REVEALED, blame_for
from fedtt.federated.secure.sum_client import advertise, mask, reveal, share
from fedtt.federated.secure.sum_server import NO_SECRET, Gathering, Opened, open_sum
from fedtt.federated.secure.sum_sizes import default_threshold

WORDS = 5


@settings(max_examples=10)
@given(data=st.data(), secret=st.integers(0, 2**256 - 1), threshold=st.integers(2, 6))
def test_as_many_wrong_shares_as_there_are_to_spare_are_found(
    data: st.DataObject, secret: int, threshold: int
) -> None:
    shares = split_secret(secret, threshold=threshold, places=range(1, threshold + 4))
    bad = data.draw(st.sets(st.sampled_from(sorted(shares)), max_size=3))
    said = {p: (s + data.draw(st.integers(1, 9))) % PRIME if p in bad else s
            for p, s in shares.items()}  # fmt: skip
    found = recover_secret(said, threshold=threshold, fits=secret.__eq__, effort=Effort())
    assert found is not None
    assert found.secret == secret
    wrong, borne = (
        wrong_places(said, found, among=said),
        liars_borne(len(said), threshold=threshold),
    )
    assert borne == 2
    assert wrong == bad or max(len(wrong), len(bad)) > borne
    assert recover_secret(said, threshold=threshold, fits=lambda _: False, effort=Effort()) is None


def test_two_who_lie_together_cannot_make_others_seem_liars() -> None:
    """Of six, three are enough; their errors are a polynomial that is zero at zero and at 3."""
    shares = split_secret(5, threshold=3, places=range(1, 7))
    error = {place: place * (place - 3) for place in (1, 2)}
    said = {p: (s + error.get(p, 0)) % PRIME for p, s in shares.items()}
    found = recover_secret(said, threshold=3, fits=(5).__eq__, effort=Effort())
    assert found is not None
    assert found.sound == (1, 2, 3), "the right secret, of a wrong polynomial"
    wrong = wrong_places(said, found, among=said)
    assert wrong == {4, 5, 6}
    assert len(wrong) > liars_borne(6, threshold=3)


@settings(max_examples=20)
@given(data=st.data(), threshold=st.integers(1, 8), spare=st.integers(0, 7))
def test_half_of_what_is_to_spare_is_decoded_without_trying(
    data: st.DataObject, threshold: int, spare: int
) -> None:
    shares = split_secret(7, threshold=threshold, places=range(3, 3 + threshold + spare))
    bad = data.draw(st.sets(st.sampled_from(sorted(shares)), max_size=spare // 2))
    said = {p: (s + 1) % PRIME if p in bad else s for p, s in shares.items()}
    polynomial = decode_shares(said, threshold=threshold)
    assert polynomial is not None
    assert polynomial[0] == 7
    assert len(polynomial) <= threshold


def test_many_liars_of_many_cost_no_search() -> None:
    """15 of 100: of 67 drawn at random the odds to have none of them are one in 10^8."""
    shares = split_secret(5, threshold=67, places=range(1, 101))
    said = {p: (s + 1 if 30 <= p < 45 else s) % PRIME for p, s in shares.items()}
    tried: list[int] = []

    def fits(secret: int) -> bool:
        tried.append(secret)
        return secret == 5

    assert recover_secret(said, threshold=67, fits=fits, effort=Effort()) is not None
    assert len(tried) == 2


def opened_with(
    gathering: Gathering, revealed: dict[int, dict[int, int]], inputs: dict[int, Words]
) -> Opened:
    """The sum is that of those who were asked, if there is one."""
    opened = open_sum(gathering, revealed)
    if opened.total is not None:
        assert gathering.asked is not None
        wanted = sum(1 * inputs[place].astype(np.uint64) for place in gathering.asked) % 2**32
        assert opened.total.tolist() == wanted.tolist()
    return opened


@pytest.mark.parametrize("leaving", [(), (5,)])
@pytest.mark.parametrize("liar", [1, 4])
def test_one_who_reveals_wrong_shares_is_named_and_costs_nothing(
    leaving: tuple[int, ...], liar: int
) -> None:
    inputs = random_inputs(6, WORDS, seed=0)
    until = until_masked(terms_of(6, 5), inputs, Leaving(shares=leaving))
    gathering = until.gathering.ask()
    assert gathering.asked is not None
    revealed = {p: reveal(c, gathering.asked)[1] for p, c in until.clients.items()}
    revealed[liar] = {place: share_of ^ 1 for place, share_of in revealed[liar].items()}
    opened = opened_with(gathering, revealed, inputs)
    if leaving:  # five shares are left, and one of them is wrong: of nobody is anything known
        assert (opened.total, opened.missing) == (None, NO_SECRET)
        assert not opened.faults
        return
    assert opened.total is not None
    assert opened.faults == {liar: REVEALED}
    assert not opened.disputed

    revealed[liar] = dict.fromkeys(revealed[liar], 2**264 - 1)
    opened = opened_with(gathering, revealed, inputs)
    assert opened.total is not None
    assert opened.faults == {liar: REVEALED}


def test_a_liar_about_the_key_of_one_who_left_is_found_too() -> None:
    inputs = random_inputs(7, WORDS, seed=0)
    until = until_masked(terms_of(7, 5), inputs, Leaving(shares=(7,)))
    gathering = until.gathering.ask()
    assert gathering.asked is not None
    revealed = {p: reveal(c, gathering.asked)[1] for p, c in until.clients.items()}
    revealed[2][7] += 1
    opened = opened_with(gathering, revealed, inputs)
    assert opened.total is not None
    assert opened.disputed == {2, 7}, "7 may have dealt 2 a wrong one"
    assert not opened.faults


@pytest.mark.parametrize("spoilt", [1, 2, 4])
def test_one_who_deals_shares_that_do_not_open_costs_its_round_at_most(spoilt: int) -> None:
    """Client 1 of seven, of which five are enough; spoils the shares of so many others."""
    terms, inputs = terms_of(7, 5), random_inputs(7, WORDS, seed=0)
    advertised = {place: advertise(place, terms) for place in range(1, 8)}
    roster = {place: client.public for place, client in advertised.items()}
    both = {place: share(client, roster) for place, client in advertised.items()}
    dealt = {place: own for place, (_, own) in both.items()}
    garbage = {place: bytes(len(dealt[1].sealed[place])) for place in range(2, 2 + spoilt)}
    dealt[1] = replace(dealt[1], sealed={**dealt[1].sealed, **garbage})
    gathering = begin_gathering(terms, roster, dealt, words=WORDS)
    clients = {}
    for place, (sharing, _) in both.items():
        clients[place], words = mask(sharing, gathering.sealed_for(place), inputs[place])
        gathering = gathering.include(place, words)
    gathering = gathering.ask()
    assert gathering.asked is not None
    revealed = {p: reveal(c, gathering.asked)[1] for p, c in clients.items()}
    opened = opened_with(gathering, revealed, inputs)
    assert (opened.total is None) == (spoilt > 2)
    assert opened.faults == ({1: DEALT} if spoilt > 2 else {})


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), clients=st.integers(4, 12))
def test_no_honest_client_is_blamed_by_those_who_lie(seed: int, clients: int) -> None:
    chance = random.Random(seed)
    spare = liars_borne(clients, threshold=default_threshold(clients))
    places = range(1, clients + 1)
    liars = set(chance.sample(places, chance.randint(1, spare)))
    pairs = {
        (holder, owner)
        for holder in places
        for owner in places
        if holder != owner and {holder, owner} & liars and chance.random() < 0.5
    }
    blame = blame_for(pairs, lost=(), most_liars=spare)
    assert blame.faults.keys() <= liars
    assert all(set(pair) & (blame.faults.keys() | blame.disputed) for pair in pairs)
