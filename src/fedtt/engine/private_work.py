"""One client's part in a round under example-level privacy: its batches, and what memory holds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fedtt.data import TokenizedTexts, collate
from fedtt.engine.client_work import SharedByClients, Work, hook_of, loss_function, reply_to
from fedtt.federated.local.client import Batch
from fedtt.federated.local.example_gradients import (
    ExampleGradients,
    gradients_one_by_one,
    stacked_gradients,
)
from fedtt.federated.local.private_client import PrivateClient, train_privately
from fedtt.federated.local.stackable import try_stacking
from fedtt.federated.privacy.example_step import bytes_of

if TYPE_CHECKING:
    import torch

# An example's gradient: as it comes and in one row (float32), in float64, scaled, in whole numbers.
GRADIENT_BYTES = 4 + 4 + 8 + 8 + 8
MAX_GRADIENT_BYTES = 2**30


def train_with_noise(shared: SharedByClients, work: Work) -> bytes:
    """The client's local steps, each example hidden, and its reply, which tells no loss."""
    private, client_id = shared.private, work.task.client_id
    assert private is not None  # or there is no noise to train with
    kept = None if shared.kept is None else shared.kept.get(client_id, {})
    mechanism = private.mechanism(
        client_id,
        examples=len(work.data),
        task=_described(shared, work, kept=kept or {}),
    )
    client = PrivateClient(
        start=work.start,
        mechanism=mechanism,
        gradients=_gradients(shared, work),
        parts=lambda indices: _parts(shared, work, indices),
        where=work.where,
        after_step=hook_of(shared, work),
        kept=kept,
    )
    update = train_privately(
        shared.model,
        client,
        trained=work.trained,
        steps=work.steps,
        learning_rate=work.task.learning_rate,
        training=shared.training,
        projection=work.projection,
    )
    if shared.kept is not None:
        shared.kept[client_id] = update.kept
    return reply_to(shared, work, update)


def _gradients(shared: SharedByClients, work: Work) -> ExampleGradients:
    """All examples of a part at once where the method can, else one by one."""
    loss = shared.loss(work.data)
    batch = collate(work.data, np.array([0]), pad_token_id=shared.pad_token_id)
    if try_stacking(shared.model, work.start, work.trained, batch) is None:
        return gradients_one_by_one(loss_function(loss))
    return stacked_gradients(loss)


def _parts(shared: SharedByClients, work: Work, indices: np.ndarray) -> Iterator[Batch]:
    """These examples, the shortest first, as many at a time as memory holds."""
    device = next(shared.model.parameters()).device
    numbers = sum(work.start[name].numel() for name in work.trained)
    most = max(1, MAX_GRADIENT_BYTES // (GRADIENT_BYTES * numbers))
    for part in split_by_length(
        work.data.lengths, indices, max_tokens=shared.part_tokens, most=most
    ):
        batch = collate(work.data, part, pad_token_id=shared.pad_token_id)
        yield {key: tensor.to(device) for key, tensor in batch.items()}


def split_by_length(
    lengths: np.ndarray, indices: np.ndarray, *, max_tokens: int, most: int
) -> Iterator[np.ndarray]:
    """``indices``, the shortest first, by at most ``most`` and ``max_tokens``, padding included.

    One example goes through whole, however long it is.
    """
    part: list[int] = []
    for index in indices[np.argsort(lengths[indices], kind="stable")]:
        if part and (len(part) == most or (len(part) + 1) * int(lengths[index]) > max_tokens):
            yield np.array(part)
            part = []
        part.append(int(index))
    if part:
        yield np.array(part)


def _described(
    shared: SharedByClients, work: Work, *, kept: "dict[str, torch.Tensor] | Batch"
) -> Iterator[bytes]:
    """All that the client's answer comes of, but for the secret."""
    task = work.task
    settings = (
        task.round_index,
        shared.seed,
        task.learning_rate,
        work.steps,
        sorted(work.trained),
        shared.training,
        task.subspace,
        shared.unsent,
    )
    yield repr(settings).encode()
    yield from bytes_of(work.start)
    yield from bytes_of(kept)
    yield from _bytes_of_data(work.data)


def _bytes_of_data(data: TokenizedTexts) -> Iterator[bytes]:
    columns = (data.flat, data.offsets, data.labels, data.token_types, data.learned)
    yield repr(data.targets).encode()
    yield from (
        b"" if column is None else np.ascontiguousarray(column).tobytes() for column in columns
    )
