"""The embedded engine: every client in this process, taking turns on one shared model."""

from collections.abc import Callable, Iterator, Mapping

import torch
from peft import PeftModel

from fedtt.data import TokenizedTexts, collate, epoch_steps, step_batches
from fedtt.federated.client import Batch, LocalTraining, train_locally
from fedtt.federated.round import CallClient, ClientTask
from fedtt.federated.wire import decode, encode_update
from fedtt.seeds import derive_seed

StepHook = Callable[[ClientTask, int, int, float], None]


def local_clients(
    model: PeftModel,
    train: Mapping[str, TokenizedTexts],
    *,
    training: LocalTraining,
    pad_token_id: int,
    seed: int,
    after_step: StepHook | None = None,
) -> CallClient:
    """The function that carries a task to a client of this process and brings back its reply.

    Each call changes ``model`` in place. A client's batches and dropout depend on the seed, the
    round and the client alone, so neither the order of clients nor a restart changes a bit.
    ``after_step(task, step, steps, loss)`` is called after every local step.
    """

    def call(task: ClientTask) -> bytes:
        data = train[task.client_id]
        start, _ = decode(task.payload, expected=task.structure)
        steps = training.steps or epoch_steps(len(data), training.batch_size, training.epochs)
        stream = (task.round_index, task.client_id)
        update = train_locally(
            model,
            start,
            _batches(
                data,
                steps=steps,
                batch_size=training.batch_size,
                pad_token_id=pad_token_id,
                seed=derive_seed(seed, "batches", *stream),
                device=next(model.parameters()).device,
            ),
            num_examples=len(data),
            learning_rate=task.learning_rate,
            training=training,
            dropout_seed=derive_seed(seed, "dropout", *stream),
            where=f"round {task.round_index}, client {task.client_id}",
            after_step=after_step and (lambda step, loss: after_step(task, step, steps, loss)),
        )
        return encode_update(update)

    return call


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
