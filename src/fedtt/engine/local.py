"""The embedded engine: every client in this process, taking turns on one shared model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from peft import PeftModel
from torch import nn

from fedtt import params as p
from fedtt.data import TokenizedTexts, collate, epoch_steps, step_batches
from fedtt.federated.broadcast import Broadcast, decode_broadcast
from fedtt.federated.client import Batch, LocalTraining, LossFunction, train_locally
from fedtt.federated.round import CallClient, ClientTask
from fedtt.federated.types import ServerState
from fedtt.federated.wire import encode_update
from fedtt.seeds import derive_seed
from fedtt.tasks import Task, log_prior
from fedtt.tasks.task import logits_of

StepHook = Callable[[ClientTask, int, int, float], None]


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
    model: PeftModel,
    train: Mapping[str, TokenizedTexts],
    *,
    task: Task,
    num_classes: int,
    state: ServerState,
    training: LocalTraining,
    logit_adjustment: float,
    pad_token_id: int,
    seed: int,
    after_step: StepHook | None = None,
) -> CallClient:
    """The function that carries a task to a client of this process and brings back its reply.

    ``state`` is the server's before the first task. Each call changes ``model`` in place. A
    client's batches and dropout depend on the seed, the round and the client alone, so neither the
    order of clients nor a restart changes a bit. ``after_step(task, step, steps, loss)`` is called
    after every local step.
    """
    copy = LocalCopy(state)

    def prior(data: TokenizedTexts) -> torch.Tensor | None:
        if not logit_adjustment:
            return None
        counts = np.bincount(data.labels, minlength=num_classes).tolist()
        return log_prior(counts, strength=logit_adjustment)

    def call(asked: ClientTask) -> bytes:
        data = train[asked.client_id]
        broadcast = decode_broadcast(asked.payload, structure=asked.structure)
        steps = training.steps or epoch_steps(len(data), training.batch_size, training.epochs)
        stream = (asked.round_index, asked.client_id)
        update = train_locally(
            model,
            copy.update(broadcast, task=asked),
            _batches(
                data,
                steps=steps,
                batch_size=training.batch_size,
                pad_token_id=pad_token_id,
                seed=derive_seed(seed, "batches", *stream),
                device=next(model.parameters()).device,
            ),
            trained=broadcast.trained,
            num_examples=len(data),
            learning_rate=asked.learning_rate,
            training=training,
            dropout_seed=derive_seed(seed, "dropout", *stream),
            where=f"round {asked.round_index}, client {asked.client_id}",
            loss_function=_loss(task, shift=prior(data)),
            after_step=after_step and (lambda step, loss: after_step(asked, step, steps, loss)),
        )
        trained = {name: asked.structure[name] for name in update.delta}
        return encode_update(replace(update, delta=p.narrow(update.delta, trained)))

    return call


def _loss(task: Task, *, shift: torch.Tensor | None) -> LossFunction:
    def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
        return task.loss(logits_of(model, batch), batch, shift=shift)

    return loss


def _batches(
    data: TokenizedTexts,
    *,
    steps: int,
    batch_size: int,
    pad_token_id: int,
    seed: int,
    device: torch.device,
) -> Iterator[Batch]:
    for indices in step_batches(data.lengths, batch_size=batch_size, steps=steps, seed=seed):
        batch = collate(data, indices, pad_token_id=pad_token_id)
        yield {key: tensor.to(device) for key, tensor in batch.items()}
