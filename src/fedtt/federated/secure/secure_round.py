"""A federated round whose server learns the sum of the updates, and none of them.

As :func:`fedtt.federated.round.run_round`, but what comes back from the clients is one sum.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.aggregate.aggregation import Aggregate, Weighting
from fedtt.federated.cohort import Cohorts
from fedtt.federated.failures import failures_after
from fedtt.federated.method import Method
from fedtt.federated.next_state import next_state
from fedtt.federated.round import ClientTask, tasks_of
from fedtt.federated.secure.ring_encoding import RingEncoding, Words, decode_sum
from fedtt.federated.secure.sum_sizes import default_threshold
from fedtt.federated.secure.sum_terms import SumTerms
from fedtt.federated.subspace import answer_of
from fedtt.federated.types import ClientReport, RoundReport, ServerState, SumReport

SESSION_BYTES = 16
Stage = Literal["keys", "shares", "masked update", "unmasking"]
DISPUTED = "a share between it and another client is wrong, and nobody can tell which of them lied"


@dataclass(frozen=True, kw_only=True)
class SecureSum:
    """How a run sums: ``threshold`` clients of a round at least, None for the default of its size.

    ``most_weight`` is 1 where all count the same.
    """

    threshold: int | None
    value_range: float
    most_weight: int

    def threshold_of(self, clients: int) -> int:
        """Of a round of so many."""
        return self.threshold or default_threshold(clients)

    def encoding(self, structure: p.Structure, *, clients: int) -> RingEncoding:
        """Of a round in which so many clients send that structure."""
        return RingEncoding(
            structure=structure,
            value_range=self.value_range,
            most_weight=self.most_weight,
            clients=clients,
        )


@dataclass(frozen=True, kw_only=True)
class SumRequest:
    """What a round asks of its engine. ``tasks`` are those of ``cohort``, in its order, made when
    they are asked for; a client's place is one more than its index. ``absent`` will send no update.
    """

    cohort: Sequence[str]
    tasks: Iterable[ClientTask]
    absent: frozenset[str]
    terms: SumTerms
    encoding: RingEncoding
    weighting: Weighting


@dataclass(frozen=True, kw_only=True)
class Summed:
    """What an engine brings back: the sum of the updates of those in ``uplink``, and the bytes that
    each sent and was sent; ``missing`` says why there is no sum, if so.

    ``left`` says at which stage who left. ``failed`` is what was wrong with whom, and of those
    ``disputed`` it is not known which of two lied.
    """

    total: Words | None
    uplink: Mapping[str, int]
    downlink: Mapping[str, int]
    missing: str | None = None
    left: Mapping[str, Stage] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    disputed: Mapping[str, str] = field(default_factory=dict)


# Carries a round's tasks to its clients, and brings back the sum of their updates.
CallSum = Callable[[SumRequest], Summed]


def run_secure_round(
    state: ServerState,
    *,
    method: Method,
    cohorts: Cohorts,
    learning_rate: float,
    call_sum: CallSum,
    secure: SecureSum,
) -> tuple[ServerState, RoundReport]:
    """The next server state, and what happened on the way to it.

    Where fewer clients than the threshold stay to the end, there is no sum: the parameters are as
    they were, and the report says so. The method's aggregation must be the mean, and all clients
    send the same structure. Raises like :func:`fedtt.federated.round.run_round`.
    """
    trained = method.trained(state)
    whole = answer_of(p.structure_of(state.params), trained=trained, subspace=method.subspace)
    positions = cohorts.positions(state.next_round)
    cohort = [cohorts.population[position] for position in positions]
    clients = cohorts.size  # however few are left to be called: the clients know no other number
    encoding = secure.encoding(whole, clients=clients)
    threshold = secure.threshold_of(clients)
    summed = call_sum(
        SumRequest(
            cohort=cohort,
            tasks=tasks_of(
                state,
                method=method,
                population=cohorts.population,
                cohort=positions,
                trained=trained,
                learning_rate=learning_rate,
            ),
            absent=frozenset(c for c in cohort if cohorts.drops_out(c, state.next_round)),
            terms=SumTerms(
                session=secrets.token_bytes(SESSION_BYTES),
                clients=clients,
                threshold=threshold,
            ),
            encoding=encoding,
            weighting=method.weighting,
        )
    )
    aggregate, of_sum = Aggregate(delta={}), SumReport(threshold=threshold, left=summed.left)
    missing = summed.missing
    if summed.total is not None:
        try:
            found = decode_sum(summed.total, encoding=encoding, arrived=len(summed.uplink))
        except WireError as error:  # a round lost, as one of too few clients
            missing = str(error).replace("\n", ";")
        else:
            aggregate = Aggregate(delta=found.mean)
            of_sum = replace(of_sum, loss=found.loss, out_of_range=found.out_of_range)
    report = RoundReport(
        round_index=state.next_round,
        clients={
            client_id: _report(uplink=size, downlink=summed.downlink[client_id])
            for client_id, size in summed.uplink.items()
        },
        dropped={c: size for c, size in summed.downlink.items() if c not in summed.uplink},
        unused=missing,
        failed={**summed.disputed, **summed.failed},
        of_sum=of_sum,
    )
    honest = summed.uplink.keys() - report.failed.keys()
    failures = failures_after(state.failures, heard=honest, failed=summed.failed)
    state = replace(state, failures=failures)
    return next_state(state, method, aggregate, heard=summed.uplink), report


def _report(*, uplink: int, downlink: int) -> ClientReport:
    """What is known of one client: nothing that it said."""
    return ClientReport(
        num_examples=0, num_steps=0, loss=0.0, uplink_bytes=uplink, downlink_bytes=downlink
    )
