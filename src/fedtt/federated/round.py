"""One federated round, top to bottom. Every engine runs this function.

schedule -> names -> (per client of the cohort: what it misses -> encode -> decode -> write -> local
steps -> delta -> encode) -> decode -> streaming aggregation -> server step -> new state.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.cohort import Cohorts
from fedtt.federated.failures import failures_after
from fedtt.federated.method import Method
from fedtt.federated.next_state import next_state
from fedtt.federated.privacy.client_privacy import ClientPrivacy
from fedtt.federated.subspace import THETA, Subspace, answer_of
from fedtt.federated.types import ClientReport, ClientUpdate, RoundReport, ServerState
from fedtt.federated.wire.broadcast import broadcast_for, encode_broadcast
from fedtt.federated.wire.codec import Codec
from fedtt.federated.wire.plain import PLAIN
from fedtt.federated.wire.update import decode_update


@dataclass(frozen=True, kw_only=True)
class ClientTask:
    """All that a client is told in a round; ``payload`` is the broadcast as it travels.

    ``structure`` is what the client knows: every parameter that it can exchange, in its own sizes
    (a client of a lower rank has smaller ones than the server); ``codec`` is what it answers in,
    ``downlink`` what the rounds that it missed come in, and ``subspace``, if any, where it trains.
    """

    round_index: int
    client_id: str
    payload: bytes
    structure: p.Structure
    learning_rate: float
    codec: Codec = PLAIN
    downlink: Codec = PLAIN
    subspace: Subspace | None = None

    def answer(self, trained: Collection[str]) -> p.Structure:
        """What a client that trains those sends back."""
        return answer_of(self.structure, trained=trained, subspace=self.subspace)


CallClient = Callable[[ClientTask], bytes]


@dataclass(frozen=True, kw_only=True)
class CheckedReply:
    """A reply that its engine has decoded already; ``size`` is that of the bytes that came."""

    update: ClientUpdate
    size: int


@dataclass(frozen=True, kw_only=True)
class FailedReply:
    """A reply that came and is none: ``reason`` is the same for the same fault."""

    reason: str


ClientReply = bytes | CheckedReply | FailedReply | None
# Carries the tasks of a cohort to its clients and brings back one reply a task, in their order; in
# the place of one that did not come, None, or what was wrong with it. Both are streams: the next
# task is made when it is asked for, and kept by nobody here.
CallClients = Callable[[Iterable[ClientTask]], Iterable[ClientReply]]


def one_by_one(call_client: CallClient) -> CallClients:
    """The simplest engine: every client answers before the next one is called."""
    return lambda tasks: map(call_client, tasks)


def run_round(
    state: ServerState,
    *,
    method: Method,
    cohorts: Cohorts,
    learning_rate: float,
    call_clients: CallClients,
    privacy: ClientPrivacy | None = None,
) -> tuple[ServerState, RoundReport]:
    """The next server state, and what happened on the way to it.

    ``call_clients`` carries the cohort's tasks to its clients and brings back the uplink payloads;
    it is all that differs between engines. ``learning_rate`` is this round's, for the clients. A
    client that drops out, or whose reply the engine gives up, was called and does not answer; a
    round in which fewer answer than the aggregation takes leaves the parameters as they were, and
    its report says so. With ``privacy``, that is the aggregation, with weights of its own; and
    it takes any number, none too.

    Raises :class:`WireError` for a reply that is not what it should be, :class:`DivergenceError`
    for a new state that is not finite, :class:`FedttError` for an engine that loses replies.
    """
    trained = method.trained(state)
    whole = answer_of(p.structure_of(state.params), trained=trained, subspace=method.subspace)
    start = _start(state, whole)
    called: deque[_Called] = deque()  # and not heard yet
    dropped: dict[str, int] = {}
    failed: dict[str, str] = {}

    def tasks() -> Iterator[ClientTask]:
        for task in tasks_of(
            state,
            method=method,
            population=cohorts.population,
            cohort=cohorts.positions(state.next_round),
            trained=trained,
            learning_rate=learning_rate,
        ):
            if cohorts.drops_out(task.client_id, state.next_round):
                dropped[task.client_id] = len(task.payload)
            else:
                called.append(_Called.of(task, trained))
                yield task

    reports: dict[str, ClientReport] = {}
    aggregation: Aggregation = method.limited_aggregation
    if privacy is not None:
        aggregation = privacy.mean(state, structure=whole, heard=reports)
    for reply in call_clients(tasks()):
        _check_expected(called, answered=len(reports))
        task = called.popleft()
        if reply is None or isinstance(reply, FailedReply):
            dropped[task.client_id] = task.downlink
            if reply is not None:
                failed[task.client_id] = reply.reason
            continue
        checked = _checked(reply, task.answer, codec=method.codec)
        update = checked.update
        aggregation = aggregation.include(
            p.widen(update.delta, whole),
            start=p.widen(p.narrow(start, task.answer), whole),
            weight=method.weighting(update),
        )
        reports[task.client_id] = _report(update, uplink=checked.size, downlink=task.downlink)
    _check_all_answered(called)
    unused = _too_few(aggregation, answered=len(reports))
    aggregate = Aggregate(delta={}) if unused else aggregation.result(start=start)
    report = RoundReport(
        round_index=state.next_round,
        clients=reports,
        dropped=dropped,
        unused=unused,
        failed=failed,
    )
    state = replace(state, failures=failures_after(state.failures, heard=reports, failed=failed))
    return next_state(state, method, aggregate, heard=reports), report


def tasks_of(
    state: ServerState,
    *,
    method: Method,
    population: Sequence[str],
    cohort: Sequence[int],
    trained: frozenset[str],
    learning_rate: float,
) -> Iterator[ClientTask]:
    """One task a client of the cohort, made when it is asked for."""
    whole = p.structure_of(state.params)
    pretrained = method.pretrained(state.params)
    for position in cohort:
        client_id = population[position]
        structure = method.client_structure(whole, position)
        broadcast = broadcast_for(
            state, client_id=client_id, trained=trained, pretrained=pretrained
        )
        sent = {name: structure[name] for name in broadcast.values}
        broadcast = replace(broadcast, values=p.narrow(broadcast.values, sent))
        yield ClientTask(
            round_index=state.next_round,
            client_id=client_id,
            payload=encode_broadcast(broadcast, structure=structure, codec=method.downlink),
            structure=structure,
            learning_rate=learning_rate,
            codec=method.codec,
            downlink=method.downlink,
            subspace=method.subspace,
        )


def _too_few(aggregation: Aggregation, *, answered: int) -> str | None:
    """Why the round's updates are not used; None where there are enough of them."""
    fewest = aggregation.fewest
    if answered >= fewest:
        return None
    return f"{answered} answered, and the aggregation takes {fewest}"


@dataclass(frozen=True, kw_only=True)
class _Called:
    """What is remembered of a task until its reply comes."""

    client_id: str
    answer: p.Structure
    downlink: int

    @classmethod
    def of(cls, task: ClientTask, trained: Collection[str]) -> "_Called":
        answer = task.answer(trained)
        return cls(client_id=task.client_id, answer=answer, downlink=len(task.payload))


def _checked(reply: bytes | CheckedReply, expected: p.Structure, *, codec: Codec) -> CheckedReply:
    if isinstance(reply, CheckedReply):
        return reply
    update = decode_update(reply, expected=expected, codec=codec)
    return CheckedReply(update=update, size=len(reply))


def _check_expected(called: Sequence[_Called], *, answered: int) -> None:
    if not called:
        raise FedttError(
            "an engine brought back a reply that nobody was asked for",
            where="call_clients",
            got=f"reply {answered + 1} for {answered} tasks",
            expected="one reply a task, after the task was taken",
        )


def _check_all_answered(called: Sequence[_Called]) -> None:
    if called:
        raise FedttError(
            "an engine brought back too few replies",
            where="call_clients",
            got=f"none from {', '.join(task.client_id for task in list(called)[:3])}",
            expected="one reply a task, in the order of the tasks",
        )


def _report(update: ClientUpdate, *, uplink: int, downlink: int) -> ClientReport:
    return ClientReport(
        num_examples=update.num_examples,
        num_steps=update.num_steps,
        loss=update.loss,
        uplink_bytes=uplink,
        downlink_bytes=downlink,
    )


def _start(state: ServerState, answer: p.Structure) -> p.Params:
    """From where the clients train what they send: in a subspace, from zero."""
    return p.zeros(answer) if THETA in answer else state.params
