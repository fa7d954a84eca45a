"""A client's local training under example-level differential privacy (DP-SGD).

What is released is the noisy gradient of every step; the optimizer, FedProx's pull and the weight
decay see nothing else of the examples, and so change nothing about the guarantee.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fedtt import params as p
from fedtt.federated.local.alone import finite_delta, freeze_all_but
from fedtt.federated.local.client import Batch, StepHook
from fedtt.federated.local.example_gradients import ExampleGradients
from fedtt.federated.local.moving import moving_of
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.privacy.example_step import ExampleMechanism, clipped_sum
from fedtt.federated.subspace import Projection
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params
from fedtt.seeds import random_stream

NO_LOSS = 0.0  # what is said of it: the loss of a client's examples stays there


@dataclass(frozen=True, kw_only=True)
class PrivateClient:
    """A client in a round: from where it trains, on which examples, and what hides them.

    ``parts`` gives the examples of a step, as many at a time as memory holds; ``where``,
    ``after_step`` and ``kept`` are as a ``LocalClient``'s, but no loss is told.
    """

    start: Params
    mechanism: ExampleMechanism
    gradients: ExampleGradients
    parts: Callable[[np.ndarray], Iterable[Batch]]
    where: str
    after_step: StepHook | None = None
    kept: Mapping[str, Tensor] | None = None


def train_privately(
    model: nn.Module,
    client: PrivateClient,
    *,
    trained: Collection[str],
    steps: int,
    learning_rate: float,
    training: LocalTraining,
    projection: Projection | None = None,
) -> ClientUpdate:
    """Train the parameters ``trained`` for so many steps, each along a noisy gradient.

    Changes ``model`` as :func:`fedtt.federated.local.alone.train_locally` does. The examples are
    clipped one by one, and ``training.max_grad_norm`` clips nothing more.

    Raises :class:`DivergenceError` naming the client when the update is not finite, which by then
    tells no more than the noisy gradients do.
    """
    p.write_params(model, client.start)
    origin = p.select(client.start, trained)
    weights = freeze_all_but(model, origin)
    moving = moving_of(
        weights,
        origin,
        projection=projection,
        training=replace(training, max_grad_norm=None),
        learning_rate=learning_rate,
        kept=client.kept,
    )
    ordered = {name: weights[name] for name in moving.names}
    mechanism = client.mechanism
    model.train()
    with random_stream(mechanism.dropout_seed()):
        for step in range(steps):
            total = _nothing(moving.reduce(_zero_row(ordered))[0])
            for batch in client.parts(mechanism.batch(step)):
                rows = moving.reduce(client.gradients(model, ordered, batch))
                total += clipped_sum(rows, clipping_norm=mechanism.clipping_norm)
            moving.step_along(mechanism.release(total, step=step))
            if client.after_step is not None:
                client.after_step(step, NO_LOSS)
    return ClientUpdate(
        delta=finite_delta(moving, where=f"{client.where}, after step {steps - 1}"),
        num_examples=mechanism.examples,
        num_steps=steps,
        loss=NO_LOSS,
        kept={} if client.kept is None else {**client.kept, **moving.state()},
    )


def _zero_row(weights: Mapping[str, nn.Parameter]) -> Tensor:
    """``(1, D)``: a gradient of nobody, where rows of gradients are."""
    device = next(iter(weights.values())).device
    return torch.zeros(1, sum(weight.numel() for weight in weights.values()), device=device)


def _nothing(like: Tensor) -> Tensor:
    """The sum over no examples."""
    return torch.zeros_like(like, dtype=torch.int64)
