"""Bytes and seconds that a secure sum adds to the plain mean, against the cohort's size.

    python benchmarks/secure_aggregation.py [--clients 4,10,50,100] [--numbers 5000,75000]

Random updates. Plain: each encoded, decoded and included in the mean. Secure: all stages, with one
client in ten (at least one) gone after it dealt its shares. One process, one thread; a client's
seconds are a mean over the cohort's, the server's are for all of it.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fedtt import params as p
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.secure import sum_messages as wire
from fedtt.federated.secure.ring_encoding import RingEncoding, decode_sum, encode_words
from fedtt.federated.secure.sum_client import advertise, mask, reveal, share
from fedtt.federated.secure.sum_server import begin_gathering, open_sum
from fedtt.federated.secure.sum_sizes import default_threshold
from fedtt.federated.secure.sum_terms import SumTerms
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.update import decode_update, encode_update

Spent = Counter[str]


@contextmanager
def spending(spent: Spent, who: str) -> Iterator[None]:
    """Adds the block's seconds to ``who``."""
    began = time.perf_counter()
    yield
    spent[who] += time.perf_counter() - began  # type: ignore[assignment]


def updates_of(clients: int, numbers: int) -> list[ClientUpdate]:
    """Random ones, of one tensor."""
    stream = torch.Generator().manual_seed(0)
    deltas = (torch.randn(numbers, generator=stream) * 0.1 for _ in range(clients))
    return [
        ClientUpdate(delta={"a": delta}, num_examples=1, num_steps=1, loss=1.0) for delta in deltas
    ]


def plain(updates: list[ClientUpdate]) -> tuple[Spent, p.Params, int]:
    """Seconds, the mean, and the bytes that a client sends."""
    spent, mean, size = Spent(), WeightedMean(), 0
    structure = p.structure_of(updates[0].delta)
    for update in updates:
        with spending(spent, "client"):
            blob = encode_update(update)
        with spending(spent, "server"):
            decoded = decode_update(blob, expected=structure)
            mean = mean.include(decoded.delta, start={}, weight=1.0)
        size = len(blob)
    with spending(spent, "server"):
        result = mean.result(start=p.zeros(structure)).delta
    return spent, result, size


def secure(updates: list[ClientUpdate], *, leaving: int) -> tuple[Spent, p.Params, Spent]:
    """Seconds, the mean, and bytes by direction, of all clients."""
    clients, spent, size = len(updates), Spent(), Spent()
    structure = p.structure_of(updates[0].delta)
    encoding = RingEncoding(structure=structure, value_range=1.0, most_weight=1, clients=clients)
    terms = SumTerms(
        session=b"benchmark",
        clients=clients,
        threshold=min(default_threshold(clients), clients - leaving),
    )
    places = range(1, clients + 1)
    with spending(spent, "client"):
        advertised = {place: advertise(place, terms) for place in places}
        roster = {place: client.public for place, client in advertised.items()}
        both = {place: share(client, roster) for place, client in advertised.items()}
        dealt = {place: wire.pack_dealt(own) for place, (_, own) in both.items()}
    told = wire.pack_roster(roster)
    with spending(spent, "server"):
        read = {
            place: wire.unpack_dealt(b, others=set(roster) - {place}) for place, b in dealt.items()
        }
        gathering = begin_gathering(terms, roster, read, words=encoding.words)
    size["up"] += sum(map(len, dealt.values())) + clients * wire.KEYS_BYTES
    size["down"] += clients * len(told)
    held = {}
    for place, update in zip(places, updates, strict=True):
        with spending(spent, "server"):
            sealed = wire.pack_sealed(gathering.sealed_for(place))
        size["down"] += len(sealed)
        if place > clients - leaving:
            continue
        with spending(spent, "client"):
            words = encode_words(update, weight=1, encoding=encoding)
            opened = wire.unpack_sealed(sealed, clients=clients)
            held[place], masked = mask(both[place][0], opened, words)
            blob = wire.pack_masked(masked, encoding)
        with spending(spent, "server"):
            gathering = gathering.include(place, wire.unpack_masked(blob, encoding))
        size["up"] += len(blob)
    gathering = gathering.ask()
    survivors = frozenset(held)
    with spending(spent, "client"):
        said = {p: wire.pack_revealed(reveal(client, survivors)[1]) for p, client in held.items()}
    size["up"] += sum(map(len, said.values()))
    size["down"] += len(held) * len(wire.pack_places(survivors))
    with spending(spent, "server"):
        shares = {place: wire.unpack_revealed(b, dealt=dealt) for place, b in said.items()}
        total = open_sum(gathering, shares).total
        assert total is not None  # nobody lies here
        mean = decode_sum(total, encoding=encoding, arrived=len(held)).mean
    return spent, mean, size


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="4,10,50,100")
    parser.add_argument("--numbers", default="5000,75000")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| numbers | clients, gone | bytes up / plain | bytes added up, down a client "
          "| s of a client, plain | s of the server, plain |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for numbers in map(int, arguments.numbers.split(",")):
        for clients in map(int, arguments.clients.split(",")):
            updates, leaving = updates_of(clients, numbers), max(1, clients // 10)
            before, mean, size = plain(updates[: clients - leaving])
            after, summed, sizes = secure(updates, leaving=leaving)
            np.testing.assert_allclose(summed["a"], mean["a"], atol=1e-6 * clients)
            answered = clients - leaving
            up, down = sizes["up"] / clients, sizes["down"] / clients
            sent = size * answered / clients  # those who left sent no update either way
            print(
                f"| {numbers:,} | {clients}, {leaving} | {up / sent:.2f} "
                f"| {up - sent:,.0f}, {down:,.0f} "
                f"| {after['client'] / clients:.4f}, {before['client'] / answered:.4f} "
                f"| {after['server']:.3f}, {before['server']:.3f} |"
            )


if __name__ == "__main__":
    main()
