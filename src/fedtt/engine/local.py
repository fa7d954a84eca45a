"""The embedded engine: every client in this process, on one shared model."""

from collections.abc import Iterable

import torch

from fedtt import params as p
from fedtt.engine.build import Federation
from fedtt.engine.together import train_together
from fedtt.engine.work import Site, StepHook, Work, train_alone, understand
from fedtt.federated.broadcast import Broadcast, decode_broadcast
from fedtt.federated.round import CallClients, ClientTask
from fedtt.federated.types import ServerState


class LocalCopy:
    """The global parameters as the clients of this process know them between them.

    A site keeps its own copy and hears what changed since it was last called. Here all share one:
    whatever a client was last told is part of the state that the copy reflects, and what it misses
    is in its broadcast. Starts from ``state``, the pretrained values included.
    """

    def __init__(self, state: ServerState) -> None:
        self._params = dict(state.params)
        self._round = state.next_round

    def update(self, broadcast: Broadcast, *, task: ClientTask) -> dict[str, torch.Tensor]:
        """The parameters after the broadcast, in the sizes of the task's client."""
        # A factored change is added, so it must not be added once for every client.
        factors = broadcast.factors if self._round < task.round_index else {}
        self._round = task.round_index
        news = Broadcast(
            values=p.overlay(self._params, broadcast.values),
            factors=factors,
            trained=broadcast.trained,
        )
        self._params = news.apply(self._params)
        return p.widen(p.narrow(self._params, task.structure), p.structure_of(self._params))


def local_clients(
    federation: Federation,
    *,
    state: ServerState,
    seed: int,
    logit_adjustment: float = 0.0,
    max_tokens: int | None = None,
    after_step: StepHook | None = None,
) -> CallClients:
    """The function that carries tasks to clients of this process and brings back their replies.

    ``state`` is the server's before the first task. Each call changes the federation's model in
    place. ``max_tokens`` is the budget of a forward for clients that train together, where their
    method can; None trains them one by one. A client's batches and dropout depend on the seed, the
    round and the client alone: who trains beside it, in what order, changes it by rounding only,
    and a restart not by a bit. ``after_step(task, step, steps, loss)`` is called after every local
    step.
    """
    copy = LocalCopy(state)
    site = Site(
        model=federation.model,
        train=federation.splits["train"],
        task=federation.task,
        num_classes=len(federation.label_names),
        training=federation.training,
        logit_adjustment=logit_adjustment,
        pad_token_id=int(federation.tokenizer.pad_token_id),
        seed=seed,
        after_step=after_step,
    )

    def understood(asked: ClientTask) -> Work:
        broadcast = decode_broadcast(asked.payload, structure=asked.structure)
        start = copy.update(broadcast, task=asked)
        return understand(site, asked, start=start, trained=broadcast.trained)

    def call(tasks: Iterable[ClientTask]) -> Iterable[bytes]:
        works = map(understood, tasks)
        if max_tokens is None:
            return (train_alone(site, work) for work in works)
        return train_together(site, works, max_tokens=max_tokens)

    return call
