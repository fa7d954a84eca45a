"""The embedded engine: every client in this process, on one shared model."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch

from fedtt import params as p
from fedtt.engine.build import Federation
from fedtt.engine.client_state import ClientStates
from fedtt.engine.client_work import SharedByClients, StepHook, Work, train_alone, work_of
from fedtt.engine.cohort_work import Group, groups_of, one_alone, train_together
from fedtt.engine.failing_clients import replies_or_failures
from fedtt.engine.fingerprint import digest_unsent
from fedtt.engine.freed_memory import keep_freed_memory
from fedtt.engine.private_work import train_with_noise
from fedtt.engine.token_budget import auto_max_tokens
from fedtt.engine.turn import Turn
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.round import ClientReply, ClientTask
from fedtt.federated.types import ServerState
from fedtt.federated.wire.broadcast import Broadcast, decode_broadcast
from fedtt.federated.wire.plain import PLAIN


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
        # What is added must not be added once for every client.
        known = self._round
        factors = broadcast.factors if known < task.round_index else {}
        news = Broadcast(
            values=p.overlay(self._params, broadcast.values),
            factors=factors,
            steps={index: step for index, step in broadcast.steps.items() if index >= known},
            trained=broadcast.trained,
        )
        after = news.apply(self._params, subspace=task.subspace, codec=task.downlink)
        self._params = after
        self._round = task.round_index
        return p.widen(p.narrow(self._params, task.structure), p.structure_of(self._params))


class LocalClients:
    """Carries tasks to clients of this process and brings back their replies."""

    def __init__(
        self,
        federation: Federation,
        shared: SharedByClients,
        state: ServerState,
        *,
        max_tokens: int | None,
    ) -> None:
        self._federation = federation
        self._shared = shared
        self._copy = LocalCopy(state)
        self._max_tokens = max_tokens
        self._last: tuple[bytes, p.Structure, Broadcast] | None = None  # the last one decoded

    def __call__(self, tasks: Iterable[ClientTask]) -> Iterable[bytes]:
        """One reply a task, in their order."""
        works = map(self._understood, tasks)
        if self._shared.private is not None:  # each example is a client: that is stacked enough
            return (train_with_noise(self._shared, work) for work in works)
        if self._max_tokens is None:
            return (train_alone(self._shared, work) for work in works)
        return train_together(self._shared, works, max_tokens=self._max_tokens)

    def or_failures(self, tasks: Iterable[ClientTask]) -> Iterable[ClientReply]:
        """As a call, but a client that cannot train is named, and the others go on."""
        works = map(self._understood, tasks)
        alone = partial(train_alone, self._shared)
        if self._shared.private is not None:
            alone = partial(train_with_noise, self._shared)
        if self._shared.private is not None or self._max_tokens is None:
            groups: Iterable[Group] = (one_alone(work, alone) for work in works)
        else:
            groups = groups_of(self._shared, works, max_tokens=self._max_tokens)
        return replies_or_failures(groups, alone=alone)

    def share(self, tasks: Sequence[ClientTask], turn: Turn) -> list[bytes]:
        """The replies to the tasks of ``turn``; others are done elsewhere.

        Their broadcasts are heard all the same: a client may have its next task here.
        """

        def own() -> Iterator[ClientTask]:
            heard: set[bytes] = set()
            for index, task in enumerate(tasks):
                if turn.takes(index):
                    yield task
                elif task.payload not in heard:
                    self._copy.update(self._decoded(task), task=task)
                heard.add(task.payload)

        return list(self(own()))

    def take_broadcast(self, task: ClientTask) -> dict[str, torch.Tensor]:
        """The parameters after the task's broadcast, which may be heard again with the task."""
        return self._copy.update(self._decoded(task), task=task)

    def task(
        self, client_id: str, *, payload: bytes, round_index: int, learning_rate: float
    ) -> ClientTask:
        """The task as the server made it, from the little of it that has to travel.

        With error feedback it is the leader who encodes: it knows what the clients owe.
        """
        federation = self._federation
        position = federation.splits["train"].parts.position(client_id)
        whole = p.structure_of(federation.initial.params)
        method = federation.method
        return ClientTask(
            round_index=round_index,
            client_id=client_id,
            payload=payload,
            structure=method.client_structure(whole, position),
            learning_rate=learning_rate,
            codec=PLAIN if method.error_feedback else method.codec,
            downlink=method.downlink,
            subspace=method.subspace,
        )

    def _understood(self, task: ClientTask) -> Work:
        broadcast = self._decoded(task)
        start = self._copy.update(broadcast, task=task)
        return work_of(self._shared, task, start=start, trained=broadcast.trained)

    def _decoded(self, task: ClientTask) -> Broadcast:
        """The task's broadcast, decoded once: many clients are told the same, and a site twice."""
        if self._last is not None and self._last[:2] == (task.payload, task.structure):
            return self._last[2]
        broadcast = decode_broadcast(
            task.payload, structure=task.structure, subspace=task.subspace, codec=task.downlink
        )
        self._last = (task.payload, task.structure, broadcast)
        return broadcast


def local_clients(
    federation: Federation,
    *,
    state: ServerState,
    seed: int,
    max_tokens: int | None = None,
    after_step: StepHook | None = None,
    kept: ClientStates | None = None,
    private: ExamplePrivacy | None = None,
) -> LocalClients:
    """What carries tasks to clients of this process and brings back their replies.

    ``state`` is the server's before the first task. Each call changes the federation's model in
    place. ``max_tokens`` is the budget of a forward for clients that train together, where their
    method can; None trains them one by one. A client's batches and dropout depend on the seed, the
    round and the client alone: who trains beside it, in what order, changes it by rounding only,
    and a restart not by a bit. ``after_step(task, step, steps, loss)`` is called after every local
    step. With ``private`` clients train one by one, each with its noise. On a processor the memory
    of a step is kept for the next one.
    """
    if federation.model.device.type == "cpu":
        keep_freed_memory()
    shared = SharedByClients(
        model=federation.model,
        train=federation.splits["train"],
        loss=federation.loss,
        training=federation.training,
        pad_token_id=int(federation.tokenizer.pad_token_id),
        seed=seed,
        after_step=after_step,
        kept=kept,
        private=private,
        unsent="" if private is None else digest_unsent(federation.model, state.params),
        part_tokens=max_tokens or (_part_tokens(federation) if private is not None else 0),
    )
    return LocalClients(federation, shared, state, max_tokens=max_tokens)


def _part_tokens(federation: Federation) -> int:
    return auto_max_tokens(federation.model, model_class=federation.task.model_class)
