"""The server's step, and its books on who knows what: from an aggregate to the next state."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fedtt import params as p
from fedtt.errors import DivergenceError, FedttError, WireError
from fedtt.federated.aggregate.aggregation import Aggregate
from fedtt.federated.method import Method
from fedtt.federated.sent_step import SentStep, sent_step
from fedtt.federated.server import progress_of
from fedtt.federated.types import ServerState
from fedtt.params import Params
from fedtt.seeds import derive_seed


def next_state(
    state: ServerState, method: Method, aggregate: Aggregate, *, heard: Iterable[str]
) -> ServerState:
    """The state after a round in which ``heard`` answered.

    Raises :class:`DivergenceError` for one that is not finite.
    """
    state = replace(state, privacy=aggregate.privacy or state.privacy)
    if method.keeps_steps:
        return _move_by_step(state, method, aggregate, heard=heard)
    return _move(state, method, aggregate, heard=heard)


def _move(
    state: ServerState, method: Method, aggregate: Aggregate, *, heard: Iterable[str]
) -> ServerState:
    """The server's step, and the books on who knows what."""
    params, optimizer = method.server.step(state.params, state.optimizer, aggregate.delta)
    shifted = {
        name: params[name] + left @ right for name, (left, right) in aggregate.factors.items()
    }
    after = replace(
        state,
        params=p.merge(params, shifted),
        optimizer=optimizer,
        progress={**state.progress, **progress_of(aggregate.delta)},
        factors=aggregate.factors,
    )
    return _next(state, after, changed={*aggregate.delta, *shifted}, heard=heard)


def _move_by_step(
    state: ServerState, method: Method, aggregate: Aggregate, *, heard: Iterable[str]
) -> ServerState:
    """The server's step as clients are sent it: the numbers of a subspace, what a codec leaves.

    Clients that were not there are sent it later, and add what it stands for themselves.
    """
    if aggregate.factors:
        raise FedttError(
            "a change of the base model is no step that a codec could write",
            where=method.name,
            expected="wire.downlink 'plain', and no subspace",
        )
    if not aggregate.delta:
        return _next(state, state, changed=frozenset(), heard=heard)
    zero = p.zeros(p.structure_of(aggregate.delta))
    numbers, optimizer = method.server.step(zero, state.optimizer, aggregate.delta)
    _check_finite({**numbers, **optimizer}, index=state.next_round)
    step = _as_sent(numbers, state, method)
    params = step.apply(
        state.params,
        subspace=method.subspace,
        codec=method.downlink,
        round_index=state.next_round,
    )
    moved = aggregate.delta
    if method.subspace is not None:  # whose numbers are none of the parameters
        moved = p.subtract(p.select(params, step.names), p.select(state.params, step.names))
    steps = {**state.steps, state.next_round: step}
    kept = _latest(steps, params)
    dropped = steps.keys() - kept.keys()
    after = replace(
        state,
        params=params,
        optimizer=optimizer,
        progress={**state.progress, **progress_of(moved)},
        steps=kept,
        steps_since=max((index + 1 for index in dropped), default=state.steps_since),
    )
    return _next(state, after, changed=step.names, heard=heard)


def _as_sent(numbers: Params, state: ServerState, method: Method) -> SentStep:
    """The step in the downlink's codec. Raises :class:`DivergenceError` for what none can write."""
    try:
        return sent_step(
            numbers if method.subspace is None else method.trained(state),
            numbers,
            codec=method.downlink,
            seed=derive_seed(0, "downlink", state.start, state.next_round),
        )
    except WireError as error:
        raise _divergence(f"round {state.next_round}", got=error) from error


def _latest(steps: Mapping[int, SentStep], params: Params) -> dict[int, SentStep]:
    """The last steps, as many as are smaller together than sending ``params`` would be."""
    room = sum(tensor.nbytes for tensor in params.values())
    kept: dict[int, SentStep] = {}
    for index in sorted(steps, reverse=True):
        room -= len(steps[index].body)
        if room <= 0:
            break
        kept[index] = steps[index]
    return dict(sorted(kept.items()))


def _next(
    before: ServerState, after: ServerState, *, changed: Collection[str], heard: Iterable[str]
) -> ServerState:
    """``after`` as the state of the next round, if it is finite."""
    index = before.next_round
    _check_finite({**p.select(after.params, changed), **after.optimizer}, index=index)
    return replace(
        after,
        next_round=index + 1,
        changed_at={**before.changed_at, **dict.fromkeys(changed, index)},
        synced_at={**before.synced_at, **dict.fromkeys(heard, index)},
    )


def _check_finite(tensors: Params, *, index: int) -> None:
    """Raise :class:`DivergenceError` for a NaN or an infinity."""
    bad = p.non_finite_names(tensors)
    if bad:
        got = "NaN or infinity after the server's step"
        raise _divergence(f"round {index}, {bad[0]}", got=got)


def _divergence(where: str, *, got: object) -> DivergenceError:
    return DivergenceError(
        "the global model diverged",
        where=where,
        got=got,
        expected="finite numbers",
        fix="lower client.learning_rate or server.learning_rate",
    )
