"""Lengths of the payloads of a whole run, both directions, from shapes and a schedule alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fedtt import params as p
from fedtt.federated.method import Method
from fedtt.federated.parameter_names import lora_pairs
from fedtt.federated.sent_step import SentStep
from fedtt.federated.subspace import answer_of
from fedtt.federated.types import Factors, ServerState
from fedtt.federated.wire.broadcast import broadcast_for, broadcast_length
from fedtt.federated.wire.update import update_length
from fedtt.params import Structure

# Rounds over which a schedule's messages are averaged: whole cycles of 2, 3, 4, 5 and 6 cores.
ROUNDS = 60
EXAMPLE_CLIENT = "client"


@dataclass(frozen=True, kw_only=True)
class ClientRound:
    """One client's part in one round: what it trains, and the lengths of both payloads."""

    trained: frozenset[str]
    uplink_bytes: int
    downlink_bytes: int


@dataclass(frozen=True, kw_only=True)
class ServerTraffic:
    """Bytes through the server in ``rounds`` rounds that ``clients`` clients all take part in.

    ``round_*`` are means over the schedule of what all clients together send and get in a round.
    ``first_broadcast_bytes`` is what all of them get before the first local step: what to train,
    but no values, which both ends draw. ``downlink_bytes`` is the rest of the run's downlink.
    """

    clients: int
    rounds: int
    round_uplink_bytes: float
    round_downlink_bytes: float
    first_broadcast_bytes: int
    uplink_bytes: int
    downlink_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything, both directions."""
        return self.first_broadcast_bytes + self.uplink_bytes + self.downlink_bytes


def simulate_rounds(
    state: ServerState, method: Method, *, clients: int, structure: Structure
) -> list[ClientRound]:
    """The first ``ROUNDS + 1`` rounds of a client that knows ``structure``; no values are needed.

    ``state`` is the server's before the first round, ``clients`` take part in each of them. Without
    updates to look at, the adaptive schedule is a cycle.
    """
    factors = _residual_factors(state.params, method, clients=clients)
    rounds = []
    for round_index in range(ROUNDS + 1):
        trained = method.trained(state)
        broadcast = broadcast_for(
            state,
            client_id=EXAMPLE_CLIENT,
            trained=trained,
            pretrained=method.pretrained(state.params),
        )
        sent = {name: structure[name] for name in broadcast.values}
        broadcast = replace(broadcast, values=p.narrow(broadcast.values, sent))
        rounds.append(
            ClientRound(
                trained=trained,
                uplink_bytes=update_length(
                    answer_of(structure, trained=trained, subspace=method.subspace),
                    codec=method.codec,
                ),
                downlink_bytes=broadcast_length(
                    broadcast, structure=structure, codec=method.downlink
                ),
            )
        )
        state = replace(
            state,
            next_round=round_index + 1,
            changed_at={**state.changed_at, **dict.fromkeys({*trained, *factors}, round_index)},
            synced_at={EXAMPLE_CLIENT: round_index},
            factors=factors,
            steps=_last_step(method, structure, trained, round_index=round_index),
        )
    return rounds


def count_traffic(
    state: ServerState,
    method: Method,
    *,
    clients: int,
    rounds: int,
    whole: Sequence[ClientRound],
) -> ServerTraffic:
    """The server's bytes. Clients of different ranks send, and get, what fits their own.

    ``whole`` are the simulated rounds of a client that knows all that the server does.
    """
    shares = [(clients, whole)]
    if method.client_ranks:
        shares = list(_shares(state, method, clients=clients))
    firsts = [n * one[0].downlink_bytes for n, one in shares]
    ups = [(n, [r.uplink_bytes for r in one]) for n, one in shares]
    downs = [(n, [r.downlink_bytes for r in one]) for n, one in shares]
    return ServerTraffic(
        clients=clients,
        rounds=rounds,
        round_uplink_bytes=sum(n * mean_of_cycle(sizes) for n, sizes in ups),
        round_downlink_bytes=sum(n * mean_of_cycle(sizes) for n, sizes in downs),
        first_broadcast_bytes=sum(firsts),
        uplink_bytes=sum(n * _total(sizes, rounds) for n, sizes in ups),
        downlink_bytes=sum(n * _total(sizes, rounds) for n, sizes in downs) - sum(firsts),
    )


def mean_of_cycle(sizes: Sequence[int]) -> float:
    """Mean a round, the first one left out, whose broadcast is of everything."""
    return sum(sizes[1:]) / (len(sizes) - 1)


def _total(sizes: Sequence[int], rounds: int) -> int:
    """Sum over ``rounds`` rounds: the first of ``sizes``, then the others again and again."""
    first, *cycle = sizes
    cycles, rest = divmod(rounds - 1, len(cycle))
    return first + cycles * sum(cycle) + sum(cycle[:rest])


def _shares(
    state: ServerState, method: Method, *, clients: int
) -> Iterator[tuple[int, Sequence[ClientRound]]]:
    """How many clients have the same sizes, and the rounds of each of those."""
    structure = p.structure_of(state.params)
    different = len(method.client_ranks)
    for position in range(min(clients, different)):
        own = method.client_structure(structure, position)
        alike = len(range(position, clients, different))
        yield alike, simulate_rounds(state, method, clients=clients, structure=own)


def _last_step(
    method: Method, structure: Structure, trained: frozenset[str], *, round_index: int
) -> dict[int, SentStep]:
    """The round's step, at its longest and without values, where the method keeps one."""
    if not method.keeps_steps:
        return {}
    numbers = answer_of(structure, trained=trained, subspace=method.subspace)
    body = bytes(method.downlink.length(numbers))
    return {round_index: SentStep(names=trained, body=body)}


def _residual_factors(params: p.Params, method: Method, *, clients: int) -> Factors:
    """Empty factors of the sizes in which a round of ``clients`` changes the base weights."""
    factors = {}
    for pair in lora_pairs(params) if method.shifts_base else ():
        a, b = params[pair.a], params[pair.b]
        rank = (clients + 1) * a.shape[0]
        factors[pair.base_weight] = (b.new_empty(b.shape[0], rank), a.new_empty(rank, a.shape[1]))
    return factors
