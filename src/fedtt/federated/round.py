"""One federated round, top to bottom. Every engine runs this function.

schedule -> select -> encode -> (per client of the cohort: decode -> write -> local steps ->
delta -> encode) -> decode -> streaming aggregation -> server step -> new state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.cohort import sample_cohort
from fedtt.federated.methods import Method
from fedtt.federated.types import ClientReport, RoundReport, ServerState
from fedtt.federated.wire import decode_update, encode


@dataclass(frozen=True, kw_only=True)
class ClientTask:
    """All that a client is told in a round; ``payload`` is the broadcast as it travels."""

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
) -> tuple[ServerState, RoundReport]:
    """The next server state, and what happened on the way to it.

    ``call_client`` carries a task to its client and brings back the uplink payload; it is all
    that differs between engines. ``learning_rate`` is this round's, for the clients.
    """
    names = method.schedule(state)
    broadcast = p.select(state.params, names)
    payload, structure = encode(broadcast), p.structure_of(broadcast)
    cohort = sample_cohort(
        population, cohort_size=cohort_size, seed=seed, round_index=state.next_round
    )
    aggregation, reports = method.aggregation, {}
    for client_id in cohort:
        task = ClientTask(
            round_index=state.next_round,
            client_id=client_id,
            payload=payload,
            structure=structure,
            learning_rate=learning_rate,
        )
        reply = call_client(task)
        update = decode_update(reply, expected=structure)
        aggregation = aggregation.include(update.delta, weight=method.weighting(update))
        reports[client_id] = ClientReport(
            num_examples=update.num_examples,
            num_steps=update.num_steps,
            loss=update.loss,
            uplink_bytes=len(reply),
            downlink_bytes=len(payload),
        )
    if not reports:
        raise FedttError("a round without clients", where=f"round {state.next_round}")
    new_state = method.server_step(state, aggregation.result(like=broadcast))
    return new_state, RoundReport(round_index=state.next_round, clients=reports)
