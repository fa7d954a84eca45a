"""Whole secure sums in a few lines, with clients that leave where a test wants."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedtt.federated.secure.ring_encoding import Words
from fedtt.federated.secure.sum_client import Masked, Sharing, advertise, mask, reveal, share
from fedtt.federated.secure.sum_server import Gathering, begin_gathering, open_sum
from fedtt.federated.secure.sum_terms import SumTerms

SESSION = b"run 0, round 3"


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """Who leaves after which stage."""

    keys: Collection[int] = ()
    shares: Collection[int] = ()
    masked: Collection[int] = ()


@dataclass(frozen=True, kw_only=True)
class Until:
    """What there is once masked updates arrived."""

    gathering: Gathering
    clients: Mapping[int, Masked]
    sharing: Mapping[int, Sharing]
    masked: Mapping[int, Words] = field(default_factory=dict)


def terms_of(clients: int, threshold: int) -> SumTerms:
    return SumTerms(session=SESSION, clients=clients, threshold=threshold)


def dealt(terms: SumTerms, leaving: Leaving, *, words: int) -> tuple[dict[int, Sharing], Gathering]:
    """The clients that dealt, and the server."""
    advertised = {place: advertise(place, terms) for place in range(1, terms.clients + 1)}
    roster = {place: client.public for place, client in advertised.items()}
    staying = {p: c for p, c in advertised.items() if p not in leaving.keys}
    both = {place: share(client, roster) for place, client in staying.items()}
    gathering = begin_gathering(
        terms, roster, {place: own for place, (_, own) in both.items()}, words=words
    )
    return {place: sharing for place, (sharing, _) in both.items()}, gathering


def until_masked(
    terms: SumTerms, inputs: Mapping[int, Words], leaving: Leaving | None = None
) -> Until:
    leaving = leaving or Leaving()
    sharing, gathering = dealt(terms, leaving, words=inputs[1].size)
    clients, sent = {}, {}
    for place, client in sharing.items():
        if place not in leaving.shares:
            held = gathering.sealed_for(place)
            clients[place], sent[place] = mask(client, held, inputs[place])
            gathering = gathering.include(place, sent[place])
    return Until(gathering=gathering, clients=clients, sharing=sharing, masked=sent)


def secure_sum(
    terms: SumTerms, inputs: Mapping[int, Words], leaving: Leaving | None = None
) -> tuple[Words, frozenset[int]]:
    """The sum, and whose."""
    leaving = leaving or Leaving()
    until = until_masked(terms, inputs, leaving)
    gathering = until.gathering.ask()
    assert gathering.asked is not None
    revealed = {
        place: reveal(client, gathering.asked)[1]
        for place, client in until.clients.items()
        if place not in leaving.masked
    }
    opened = open_sum(gathering, revealed)
    assert opened.total is not None, opened
    assert not opened.faults
    return opened.total, gathering.asked


def random_inputs(clients: int, words: int, *, seed: int) -> dict[int, Words]:
    stream = np.random.default_rng(seed)
    return {
        place: stream.integers(0, 2**32, words, dtype=np.uint32) for place in range(1, clients + 1)
    }
