"""Clients of this process that train in one step, as many at a time as a budget of tokens holds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fedtt.data import stack_batches
from fedtt.engine.client_work import (
    SharedByClients,
    Work,
    batches_of,
    local_client,
    reply_to,
    train_alone,
)
from fedtt.engine.token_budget import forward_worth
from fedtt.federated.local.client import Batch
from fedtt.federated.local.forward_groups import ForwardLimits
from fedtt.federated.local.stackable import Stackable, try_stacking
from fedtt.federated.local.stacked_cohort import SharedForward, Stack, train_cohort

# Of what clients that train together train: weights, start, gradient and AdamW's two moments.
STATE_COPIES = 5
MAX_STATE_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class Group:
    """Clients that train at a time, and what trains them: their replies, in their order."""

    works: Sequence[Work]
    train: Callable[[], Iterator[bytes]]


def train_together(
    shared: SharedByClients, works: Iterable[Work], *, max_tokens: int
) -> Iterator[bytes]:
    """The replies to ``works``, in their order: clients train together where their method can.

    Never more than ``max_tokens`` in a forward, a client's own batch excepted.
    """
    for group in groups_of(shared, works, max_tokens=max_tokens):
        yield from group.train()


def groups_of(
    shared: SharedByClients, works: Iterable[Work], *, max_tokens: int
) -> Iterator[Group]:
    """As :func:`train_together` trains them, one group after another."""
    verdicts: dict[frozenset[str], Stackable | None] = {}
    for group in _groups(shared, works, max_tokens=max_tokens):
        first = group[0]
        if len(group) > 1 and first.trained not in verdicts:
            batch = next(batches_of(shared, first))
            verdicts[first.trained] = try_stacking(shared.model, first.start, first.trained, batch)
        verdict = verdicts.get(first.trained)
        if len(group) == 1 or verdict is None:
            yield from (one_alone(work, partial(train_alone, shared)) for work in group)
        else:
            train = partial(_train, shared, group, draws=verdict.draws, max_tokens=max_tokens)
            yield Group(works=group, train=train)


def one_alone(work: Work, train: Callable[[Work], bytes]) -> Group:
    """A client by itself."""
    return Group(works=(work,), train=lambda: iter((train(work),)))


def _train(
    shared: SharedByClients, works: list[Work], *, draws: bool, max_tokens: int
) -> Iterator[bytes]:
    updates = train_cohort(
        shared.model,
        [
            local_client(
                shared, work, loss=shared.loss(work.data), batches=batches_of(shared, work)
            )
            for work in works
        ],
        trained=works[0].trained,
        learning_rate=works[0].task.learning_rate,
        training=shared.training,
        projection=works[0].projection,
        sharing=SharedForward(
            stack=_stack(shared),
            limits=ForwardLimits(
                max_tokens=max_tokens,
                forward_worth=forward_worth(shared.model),
                same_shape=draws,
            ),
            draws=draws,
        ),
    )
    return (reply_to(shared, work, update) for work, update in zip(works, updates, strict=True))


def _stack(shared: SharedByClients) -> Stack:
    device = next(shared.model.parameters()).device

    def stack(batches: Iterable[Batch]) -> Batch:
        joined = stack_batches(list(batches), pad_token_id=shared.pad_token_id)
        return {key: tensor.to(device) for key, tensor in joined.items()}

    return stack


def _groups(
    shared: SharedByClients, works: Iterable[Work], *, max_tokens: int
) -> Iterator[list[Work]]:
    """Consecutive clients whose batches, of texts of mean length, fit the budget together."""
    group: list[Work] = []
    tokens = 0
    for work in works:
        own = _mean_tokens(work, batch_size=shared.training.batch_size)
        most = MAX_STATE_BYTES // (STATE_COPIES * _trained_bytes(work))
        alike = not group or work.trained == group[0].trained
        if group and (tokens + own > max_tokens or len(group) >= most or not alike):
            yield group
            group, tokens = [], 0
        group.append(work)
        tokens += own
    if group:
        yield group


def _mean_tokens(work: Work, *, batch_size: int) -> int:
    rows = min(batch_size, len(work.data))
    return rows * int(np.ceil(work.data.lengths.mean()))


def _trained_bytes(work: Work) -> int:
    return max(1, sum(work.start[n].numel() * work.start[n].element_size() for n in work.trained))
