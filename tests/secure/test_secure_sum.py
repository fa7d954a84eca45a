"""The protocol: exact sums whoever leaves, nothing of one client, and refusals on both sides."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.secure.sums import (
    Leaving,
    dealt,
    random_inputs,
    secure_sum,
    terms_of,
    until_masked,
)

from fedtt.errors import FedttError, WireError
from fedtt.federated.secure.round_keys import mask_of
from fedtt.federated.secure.shamir import join_shares
from fedtt.federated.secure.sum_client import (
    NO_SHARE,
    HeldShares,
    add_pair_mask,
    advertise,
    mask,
    reveal,
    share,
)
from fedtt.federated.secure.sum_server import begin_gathering, open_sum, unsound_keys
from fedtt.federated.secure.sum_sizes import default_threshold
from fedtt.federated.secure.sum_terms import PublicKeys

WORDS = 5


@settings(max_examples=25)
@given(data=st.data())
def test_the_sum_is_that_of_those_who_arrived_to_the_bit_whoever_leaves(
    data: st.DataObject,
) -> None:
    clients = data.draw(st.integers(3, 8))
    threshold = data.draw(st.integers(default_threshold(clients), clients))
    stages = ["never", "keys", "shares", "masked"]
    places = range(1, clients + 1)
    left = {place: data.draw(st.sampled_from(stages)) for place in places}
    gone = {stage: [p for p in places if left[p] == stage] for stage in stages}
    leaving = Leaving(keys=gone["keys"], shares=gone["shares"], masked=gone["masked"])
    inputs = random_inputs(clients, WORDS, seed=clients)
    terms = terms_of(clients, threshold)
    if len(gone["never"]) < threshold:
        with pytest.raises(FedttError, match="too few clients for a secure sum"):
            secure_sum(terms, inputs, leaving)
        return
    total, whose = secure_sum(terms, inputs, leaving)
    assert whose == set(gone["never"]) | set(gone["masked"])
    wanted = sum(1 * inputs[place].astype(np.uint64) for place in whose) % 2**32
    assert total.dtype == np.uint32
    assert total.tolist() == wanted.tolist()


def test_a_masked_update_is_uniform_whatever_it_is_of() -> None:
    """Bytes of masked zeros and of masked ones: chi squared, and no correlation of the two."""
    words = 20_000
    terms = terms_of(3, 3)
    for content in (0, 1, 2**32 - 1):
        inputs = dict.fromkeys((1, 2, 3), np.full(words, content, np.uint32))
        sent = until_masked(terms, inputs).masked
        for one in sent.values():
            assert stats.chisquare(np.bincount(one.view(np.uint8), minlength=256)).pvalue > 1e-4
        both = np.corrcoef(sent[1].astype(float), sent[2].astype(float))[0, 1]
        assert abs(both) < 4.5 / np.sqrt(words)


def test_nobody_tells_by_a_masked_update_which_of_two_it_is_of() -> None:
    """The same client, the same others: the masked difference is as uniform as the masks."""
    words = 20_000
    terms = terms_of(3, 3)
    first, second = (random_inputs(3, words, seed=seed) for seed in (1, 2))
    sent = [until_masked(terms, inputs).masked[2] for inputs in (first, second)]
    undone = [one - inputs[2] for one, inputs in zip(sent, (first, second), strict=True)]
    for one in [*undone, sent[0] - sent[1]]:
        assert stats.chisquare(np.bincount(one.view(np.uint8), minlength=256)).pvalue > 1e-4


def test_even_with_the_pair_masks_of_one_who_left_the_late_update_stays_masked() -> None:
    """The server waited no longer for client 4, learned its masks' key, and then it came."""
    words = 20_000
    terms = terms_of(4, 3)
    inputs = random_inputs(4, words, seed=0)
    until = until_masked(terms, inputs)
    late, survivors = until.masked[4], frozenset({1, 2, 3})
    gathering = until.gathering
    gathering = replace(gathering, total=gathering.total - late, arrived=survivors).ask()
    revealed = {p: reveal(until.clients[p], survivors)[1] for p in survivors}
    opened = open_sum(gathering, revealed).total
    assert (opened == inputs[1] + inputs[2] + inputs[3]).all()
    key = join_shares({p: shares[4] for p, shares in revealed.items()}).to_bytes(32, "big")
    for other in survivors:
        public = gathering.roster[other].mask
        cancel = add_pair_mask(np.zeros(words, np.uint32), key, public, own=4, other=other,
                               terms=terms)  # fmt: skip
        late = late - cancel
    assert stats.chisquare(np.bincount((late - inputs[4]).view(np.uint8))).pvalue > 1e-4
    assert (late - inputs[4] == mask_of(until.sharing[4].seed, words)).all()  # that, and no less


def test_a_client_gives_one_kind_of_share_of_each_and_once() -> None:
    until = until_masked(terms_of(5, 4), random_inputs(5, WORDS, seed=0))
    everyone = frozenset(until.clients)
    client, shares = reveal(until.clients[1], everyone)
    assert reveal(client, everyone)[1] == shares  # the server did not hear it
    with pytest.raises(WireError, match=r"both kinds of share of one client.*\n.*place 5"):
        reveal(client, everyone - {5})
    with pytest.raises(WireError, match="are others than took part"):
        reveal(until.clients[1], everyone - {1})
    with pytest.raises(WireError, match="are others than took part"):
        reveal(until.clients[1], everyone | {9})
    with pytest.raises(FedttError, match="2 of 5 clients, and the secure sum takes 4"):
        reveal(until.clients[1], frozenset({1, 2}))


# Whose update arrived, as a server tells each client otherwise, to read what client 1 sent.
LIES = {1: {1, 3, 4}, 2: {1, 2, 5}, 5: {1, 2, 5}, 3: {1, 2, 3}, 4: {1, 2, 4}}


def read_by_lies(threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """What a server makes of client 1's masked update, and the update."""
    terms = terms_of(5, 4)
    object.__setattr__(terms, "threshold", threshold)  # not to be had otherwise
    sharing, gathering = dealt(terms, Leaving(), words=WORDS)
    inputs, clients, sent = random_inputs(5, WORDS, seed=0), {}, {}
    for place, client in sharing.items():
        sealed = gathering.sealed_for(place)
        if place == 1:
            sealed = {other: sealed[other] for other in sorted(LIES[1] - {1})}
        clients[place], sent[place] = mask(client, sealed, inputs[place])
    said = {place: reveal(client, frozenset(LIES[place]))[1] for place, client in clients.items()}
    of_seed = {place: said[place][1] for place in LIES}
    words = sent[1] - mask_of(join_shares(of_seed).to_bytes(32, "big"), WORDS)
    for left in (3, 4):
        of_key = {p: said[p][left] for p in LIES if p != 1 and left not in LIES[p]}
        key = join_shares(of_key).to_bytes(32, "big")
        words = add_pair_mask(words, key, gathering.roster[1].mask, own=left, other=1, terms=terms)
    return words, inputs[1]


def test_a_server_that_lies_otherwise_to_each_reads_an_update_with_three_of_five_and_not_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words, update = read_by_lies(3)
    assert (words == update).all()
    with pytest.raises(FedttError, match=r"where: shares\n.*3 of 5 clients, and .* takes 4"):
        read_by_lies(4)
    monkeypatch.setitem(LIES, 1, {1, 2, 3, 4})  # enough for its masks, and the others' lists not
    with pytest.raises(FedttError, match=r"where: unmasking\n.*3 of 5 clients, and .* takes 4"):
        read_by_lies(4)


def test_the_server_asks_once_and_takes_no_update_after() -> None:
    until = until_masked(terms_of(4, 3), random_inputs(4, WORDS, seed=0), Leaving(shares=[4]))
    with pytest.raises(WireError, match="shares of clients that nobody asked"):
        open_sum(until.gathering, {})
    asked = until.gathering.ask()
    with pytest.raises(WireError, match="a client that is to send none"):
        asked.include(4, until.masked[1])
    with pytest.raises(WireError, match="a client that is to send none"):
        until.gathering.include(1, until.masked[1])
    with pytest.raises(WireError, match="of another length"):
        until.gathering.include(4, until.masked[1][:-1])


@pytest.mark.parametrize(("clients", "threshold"), [(5, 3), (6, 4), (10, 6), (4, 5), (2, 2)])
def test_a_threshold_of_two_thirds_or_of_more_than_all_is_refused(
    clients: int, threshold: int
) -> None:
    with pytest.raises(FedttError, match="a threshold that protects nobody"):
        terms_of(clients, threshold)
    assert default_threshold(3) == 3  # of 2 and 1, either would know the other's
    assert [default_threshold(n) for n in (4, 6, 10, 100)] == [3, 5, 7, 67]


def test_shares_that_were_changed_on_their_way_are_not_taken() -> None:
    terms = terms_of(3, 3)
    sharing, gathering = dealt(terms, Leaving(), words=WORDS)
    words = np.zeros(WORDS, np.uint32)
    held = gathering.sealed_for(1)
    swapped = {2: held[3], 3: held[2]}
    flipped = {**held, 2: bytes([held[2][0] ^ 1]) + held[2][1:]}
    none = HeldShares(seed=NO_SHARE, mask_key=NO_SHARE)
    right, masked = mask(sharing[1], held, words)
    for bad, wrong in [
        ({2, 3}, swapped),
        ({2}, flipped),
        ({3}, {**held, 3: gathering.sealed_for(2)[3]}),
    ]:
        after, same = mask(sharing[1], wrong, words)
        assert {place for place in after.held if after.held[place] == none} == bad
        assert all(after.held[place] == right.held[place] for place in {1, 2, 3} - bad)
        assert (same == masked).all(), "the masks are of the keys, not of the shares"
    with pytest.raises(WireError, match="shares of another size"):
        mask(sharing[1], {**held, 2: held[2][:-1]}, words)
    with pytest.raises(WireError, match="shares of nobody in the roster"):
        mask(sharing[1], {**held, 7: held[2]}, words)
    with pytest.raises(FedttError, match="too few"):
        mask(sharing[1], {2: held[2]}, words)


def keys_of(clients: int) -> tuple[Any, dict[int, PublicKeys]]:
    terms = terms_of(clients, 3)
    advertised = {place: advertise(place, terms) for place in range(1, clients + 1)}
    return advertised, {place: client.public for place, client in advertised.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {1: r[1], 2: r[2]}, "too few clients"),
        (lambda r: {**r, 3: r[2]}, "the same key twice"),
        (lambda r: {**r, 9: r[4], 4: r[4]}, "keys of nobody in the round"),
        (
            lambda r: {**r, 1: replace(r[1], mask=r[4].box)},
            "another key than the client's own|twice",
        ),
        (lambda r: {**r, 2: replace(r[2], box=bytes(32))}, "a public key that no secret comes of"),
    ],
)
def test_a_roster_that_is_not_right_is_refused_by_the_client(
    change: Callable[[dict[int, PublicKeys]], dict[int, PublicKeys]], message: str
) -> None:
    advertised, roster = keys_of(4)
    with pytest.raises(FedttError, match=message):
        share(advertised[1], change(roster))


@pytest.mark.parametrize(
    ("change", "bad", "message"),
    [
        (lambda r: r, set(), ""),
        (lambda r: {**r, 2: replace(r[2], box=bytes(32))}, {2}, "no secret comes of"),
        (lambda r: {**r, 2: replace(r[2], mask=bytes(32))}, {2}, "no secret comes of"),
        (lambda r: {**r, 3: replace(r[3], box=r[3].mask)}, {3}, "the same key twice"),
        (lambda r: {**r, 3: replace(r[3], box=r[4].mask)}, {3, 4}, "the same key twice"),
        (lambda r: {**r, 1: r[2]}, {1, 2}, "the same key twice"),
    ],
)
def test_the_server_knows_whose_keys_the_others_would_refuse(
    change: Callable[[dict[int, PublicKeys]], dict[int, PublicKeys]], bad: set[int], message: str
) -> None:
    shown = change(keys_of(4)[1])
    found = unsound_keys(shown)
    assert set(found) == bad
    assert all(message in str(error) for error in found.values())


def test_a_client_that_deals_too_little_is_refused_by_the_server() -> None:
    advertised, roster = keys_of(3)
    own = {place: share(client, roster)[1] for place, client in advertised.items()}
    terms = advertised[1].terms
    for wrong in (
        replace(own[2], sealed={1: own[2].sealed[1]}),
        replace(own[2], sealed={**own[2].sealed, 3: b"short"}),
    ):
        with pytest.raises(WireError, match=r"one sealed share for each other client\n.*place 2"):
            begin_gathering(terms, roster, {**own, 2: wrong}, words=WORDS)


def test_secrets_are_in_no_representation() -> None:
    terms = terms_of(3, 3)
    sharing, _ = dealt(terms, Leaving(), words=WORDS)
    client = sharing[1]
    text = repr(client) + repr(client.me)
    for secret in (client.seed, client.me.mask.private, client.me.box.private):
        assert repr(secret) not in text
    assert str(client.own.seed) not in text
