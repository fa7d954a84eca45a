"""The local training of several clients at once: one forward and backward a step for all of them.

Every client does what :func:`fedtt.federated.local.alone.train_locally` does, to rounding. What
they train is stacked on a leading client dimension, ``(K, P)`` with the ``P`` numbers of a client
in one row, and put into the one shared model with ``torch.func.functional_call``. The sum of the
clients' mean losses gives every row its own client's gradient; AdamW and SGD work number by number,
so one optimizer over the rows is one a client; what does look at a client as a whole, clipping,
looks at one row.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.local.alone import check_finite, freeze_all_but, raise_divergence
from fedtt.federated.local.client import Batch, LocalClient
from fedtt.federated.local.dropout_streams import ClientStreams
from fedtt.federated.local.forward_groups import BatchShape, ForwardLimits, group_batches
from fedtt.federated.local.needed_logits import (
    LogitLoss,
    LossOfLogits,
    Positions,
    call_with,
    needed_logits,
)
from fedtt.federated.local.stacked_state import StackedState
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.subspace import Projection
from fedtt.federated.types import ClientUpdate
from fedtt.peft import stacked_forwards
from fedtt.seeds import random_stream

Stack = Callable[[Sequence[Batch]], Batch]


CohortClient = LocalClient[LogitLoss]  # the mean of its own rows


@dataclass(frozen=True, kw_only=True)
class SharedForward:
    """How clients share a forward.

    ``stack`` makes one batch of several, the same number of rows a client, filled up with rows of
    its own, which count nothing. ``draws`` says that the model drops out in training: every
    client's masks then come from its own stream, as when it trains alone.
    """

    stack: Stack
    limits: ForwardLimits
    draws: bool


def train_cohort(
    model: nn.Module,
    clients: Sequence[CohortClient],
    *,
    trained: Collection[str],
    learning_rate: float,
    training: LocalTraining,
    sharing: SharedForward,
    projection: Projection | None = None,
) -> list[ClientUpdate]:
    """Train ``trained`` of every client from its own start; their updates, in the same order.

    Changes ``model`` as :func:`train_locally` does. All clients must start from the same values of
    whatever they do not train, and the model must be one that ``fedtt.peft.can_batch``. A client
    whose batches end has ended: the others go on. With a ``projection``, its numbers train.

    Raises :class:`DivergenceError` naming the client and the step when a loss, or an update, is not
    finite; :class:`FedttError` for clients that do not share what is frozen.
    """
    _check_shared(clients, trained)
    p.write_params(model, clients[0].start)
    freeze_all_but(model, ())
    model.train()
    device = next(model.parameters()).device
    names = sorted(trained)
    starts = [p.select(client.start, names) for client in clients]
    state = StackedState(
        starts,
        training=training,
        learning_rate=learning_rate,
        device=device,
        projection=projection,
    )
    seeds = [client.dropout_seed for client in clients]
    streams = ClientStreams(seeds, device=device) if sharing.draws else None
    forward = _Forward(
        model=model,
        stack=sharing.stack,
        streams=streams,
        positions=clients[0].loss.positions,
    )
    batches = [iter(client.batches) for client in clients]
    losses: list[list[float]] = [[] for _ in clients]
    with stacked_forwards(model, state.names), random_stream(0):
        while active := _next_batches(batches, state):
            shapes = [_shape(batch) for batch in active.values()]
            positions = list(active)
            for group in group_batches(shapes, sharing.limits):
                members = [positions[i] for i in group]
                _one_forward(forward, state, clients, members, active=active, losses=losses)
            state.step()
            for index in active:
                hook = clients[index].after_step
                if hook is not None:
                    hook(len(losses[index]) - 1, losses[index][-1])
    return [
        _update(client, delta, losses=own)
        for client, delta, own in zip(clients, state.deltas(), losses, strict=True)
    ]


def _next_batches(batches: Sequence[Iterator[Batch]], state: StackedState) -> dict[int, Batch]:
    """The next batch of every client that has one. Whoever has none has ended where it is."""
    active: dict[int, Batch] = {}
    for index, own in enumerate(batches):
        batch = None if index in state.ended else next(own, None)
        if batch is not None:
            active[index] = batch
        elif index not in state.ended:
            state.end(index)
    return active


@dataclass(frozen=True, kw_only=True)
class _Forward:
    """How several clients' batches go through the model."""

    model: nn.Module
    stack: Stack
    streams: ClientStreams | None
    positions: Positions | None

    def logits(
        self, members: Sequence[int], leaves: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, Batch]:
        """``(n * b, ...)``, the rows of a client contiguous, and the batch that they are of."""
        with ExitStack() as inside:
            if self.streams is not None:
                inside.enter_context(self.streams.rows_of(members))
            return needed_logits(
                self.model, batch, positions=self.positions, call=call_with(self.model, leaves)
            )


def _one_forward(
    forward: _Forward,
    state: StackedState,
    clients: Sequence[CohortClient],
    members: Sequence[int],
    *,
    active: Mapping[int, Batch],
    losses: Sequence[list[float]],
) -> None:
    """Forward and backward of the members; their losses and gradients go where they belong."""
    batches = [active[index] for index in members]
    batch = forward.stack(batches)
    leaves = state.leaves(members)
    named = dict(zip(state.names, leaves, strict=True))
    logits, batch = forward.logits(members, named, batch)
    means = client_losses(
        logits,
        batch,
        rows=[_shape(own).rows for own in batches],
        losses=[clients[index].loss.of for index in members],
    )
    for index, loss in zip(members, means.detach().tolist(), strict=True):
        losses[index].append(loss)
        check_finite(loss, where=f"{clients[index].where}, step {len(losses[index]) - 1}")
    state.take_gradient(members, torch.autograd.grad(means.sum(), leaves, allow_unused=True))


def client_losses(
    logits: Tensor, batch: Batch, *, rows: Sequence[int], losses: Sequence[LossOfLogits]
) -> Tensor:
    """Every client's own loss, ``(n,)``, from logits ``(n * b, ...)`` and the batch stacked alike.

    Client ``i`` has ``rows[i] <= b`` rows of its own, its first ones; the others count nothing.
    """
    each = len(logits) // len(rows)
    means = []
    for index, (count, loss) in enumerate(zip(rows, losses, strict=True)):
        own = slice(index * each, index * each + count)
        means.append(loss(logits[own], {key: tensor[own] for key, tensor in batch.items()}))
    return torch.stack(means)


def _update(
    client: CohortClient, delta: dict[str, Tensor], *, losses: Sequence[float]
) -> ClientUpdate:
    bad = p.non_finite_names(delta)
    if bad:
        where = f"{client.where}, after step {len(losses) - 1}, {bad[0]}"
        raise_divergence(where=where, got="NaN or inf")
    return ClientUpdate(
        delta=delta,
        num_examples=client.num_examples,
        num_steps=len(losses),
        loss=sum(losses) / len(losses),
    )


def _shape(batch: Batch) -> BatchShape:
    rows, length = batch["input_ids"].shape
    return BatchShape(rows=rows, length=length)


def _check_shared(clients: Sequence[CohortClient], trained: Collection[str]) -> None:
    first = clients[0].start
    for client in clients[1:]:
        for name in first.keys() - set(trained):
            if not torch.equal(first[name], client.start[name]):
                raise FedttError(
                    "clients that train together start from different frozen values",
                    where=f"{client.where}, {name}",
                    expected=f"those of {clients[0].where}",
                    fix="train them one by one",
                )
