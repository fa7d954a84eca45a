"""One federated round, top to bottom. Every engine runs this function.

schedule -> names -> (per client of the cohort: what it misses -> encode -> decode -> write -> local
steps -> delta -> encode) -> decode -> streaming aggregation -> server step -> new state.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fedtt import params as p
from fedtt.errors import DivergenceError
from fedtt.federated.aggregate import Aggregate
from fedtt.federated.broadcast import broadcast_for, encode_broadcast
from fedtt.federated.cohort import drops_out, sample_cohort
from fedtt.federated.methods import Method
from fedtt.federated.server import progress_of
from fedtt.federated.types import ClientReport, ClientUpdate, RoundReport, ServerState
from fedtt.federated.wire import decode_update


@dataclass(frozen=True, kw_only=True)
class ClientTask:
    """All that a client is told in a round; ``payload`` is the broadcast as it travels.

    ``structure`` is what the client knows: every parameter that it can exchange, in its own sizes
    (a client of a lower rank has smaller ones than the server).
    """

    round_index: int
    client_id: str
    payload: bytes
    structure: p.Structure
    learning_rate: float


CallClient = Callable[[ClientTask], bytes]


def run_round(
    state: ServerState,
    *,
    method: Method,
    population: Sequence[str],
    cohort_size: int | None,
    seed: int,
    learning_rate: float,
    call_client: CallClient,
    dropout_rate: float = 0.0,
) -> tuple[ServerState, RoundReport]:
    """The next server state, and what happened on the way to it.

    ``call_client`` carries a task to its client and brings back the uplink payload; it is all
    that differs between engines. ``learning_rate`` is this round's, for the clients. A client that
    drops out (with probability ``dropout_rate``) was called and does not answer; a round in which
    nobody answers leaves the parameters as they were.

    Raises :class:`WireError` for a reply that is not what it should be, :class:`DivergenceError`
    for a new state that is not finite.
    """
    trained = method.trained(state)
    cohort = sample_cohort(
        population, cohort_size=cohort_size, seed=seed, round_index=state.next_round
    )
    positions = {client_id: index for index, client_id in enumerate(population)}
    whole = p.structure_of(state.params)
    pretrained = method.pretrained(state.params)
    aggregation, reports, dropped = method.aggregation, {}, {}
    for client_id in cohort:
        structure = method.client_structure(whole, positions[client_id])
        broadcast = broadcast_for(
            state, client_id=client_id, trained=trained, pretrained=pretrained
        )
        sent = {name: structure[name] for name in broadcast.values}
        broadcast = replace(broadcast, values=p.narrow(broadcast.values, sent))
        payload = encode_broadcast(broadcast, structure=structure)
        if drops_out(client_id, rate=dropout_rate, seed=seed, round_index=state.next_round):
            dropped[client_id] = len(payload)
            continue
        task = ClientTask(
            round_index=state.next_round,
            client_id=client_id,
            payload=payload,
            structure=structure,
            learning_rate=learning_rate,
        )
        reply = call_client(task)
        expected = {name: structure[name] for name in sorted(trained)}
        update = decode_update(reply, expected=expected)
        aggregation = aggregation.include(
            p.widen(update.delta, whole),
            start=p.widen(p.narrow(state.params, expected), whole),
            weight=method.weighting(update),
        )
        reports[client_id] = _report(update, uplink=len(reply), downlink=len(payload))
    aggregate = aggregation.result(start=state.params) if reports else Aggregate(delta={})
    report = RoundReport(round_index=state.next_round, clients=reports, dropped=dropped)
    return _step(state, method, aggregate, heard=reports), report


def _report(update: ClientUpdate, *, uplink: int, downlink: int) -> ClientReport:
    return ClientReport(
        num_examples=update.num_examples,
        num_steps=update.num_steps,
        loss=update.loss,
        uplink_bytes=uplink,
        downlink_bytes=downlink,
    )


def _step(
    state: ServerState, method: Method, aggregate: Aggregate, *, heard: Iterable[str]
) -> ServerState:
    """The server's step, and the books on who knows what."""
    params, optimizer = method.server.step(state.params, state.optimizer, aggregate.delta)
    shifted = {
        name: params[name] + left @ right for name, (left, right) in aggregate.factors.items()
    }
    params = p.merge(params, shifted)
    changed = {*aggregate.delta, *shifted}
    bad = p.non_finite_names({**p.select(params, changed), **optimizer})
    if bad:
        raise DivergenceError(
            "the global model diverged",
            where=f"round {state.next_round}, {bad[0]}",
            got="NaN or infinity after the server's step",
            expected="finite numbers",
            fix="lower client.learning_rate or server.learning_rate",
        )
    return ServerState(
        next_round=state.next_round + 1,
        params=params,
        optimizer=optimizer,
        changed_at={**state.changed_at, **dict.fromkeys(changed, state.next_round)},
        synced_at={**state.synced_at, **dict.fromkeys(heard, state.next_round)},
        progress={**state.progress, **progress_of(aggregate.delta)},
        factors=aggregate.factors,
    )
