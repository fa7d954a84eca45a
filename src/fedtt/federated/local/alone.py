"""What a client does in a round: K local steps from the broadcast parameters.

The loop is Algorithm 1 of FedAvg (McMahan et al. 2017), ClientUpdate, with AdamW as the local
optimizer, over the exchanged parameters only.
"""

import math
from collections.abc import Callable, Collection, Iterable
from typing import NoReturn

from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import DivergenceError
from fedtt.federated.local.client import Batch, LocalClient
from fedtt.federated.local.moving import Moving, moving_of
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.subspace import Projection
from fedtt.federated.types import ClientUpdate
from fedtt.seeds import random_stream

LossFunction = Callable[[nn.Module, Batch], Tensor]


def train_locally(
    model: nn.Module,
    client: LocalClient[LossFunction],
    *,
    trained: Collection[str] | None = None,
    learning_rate: float,
    training: LocalTraining,
    projection: Projection | None = None,
) -> ClientUpdate:
    """Train the parameters ``trained`` (all of the client's start if None), a step a batch.

    Changes ``model`` in place: it is the one model that all clients of a process take turns on,
    and whatever its start names is overwritten first. Everything that is not trained is frozen for
    the duration: no gradient, unknown to the optimizer, bit-identical afterwards. With a
    ``projection``, its numbers train, from zero. The caller's random state is left as it was.

    Raises :class:`DivergenceError` naming the client and the step when the loss, or the update,
    is not finite.
    """
    p.write_params(model, client.start)
    origin = p.select(client.start, client.start if trained is None else trained)
    weights = freeze_all_but(model, origin)
    moving = moving_of(
        weights,
        origin,
        projection=projection,
        training=training,
        learning_rate=learning_rate,
        kept=client.kept,
    )
    losses: list[float] = []
    model.train()
    with random_stream(client.dropout_seed):
        for step, batch in enumerate(client.batches):
            for weight in weights.values():
                weight.grad = None
            loss = client.loss(model, batch)
            losses.append(float(loss.detach()))
            check_finite(losses[-1], where=f"{client.where}, step {step}")
            loss.backward()
            moving.step()
            if client.after_step is not None:
                client.after_step(step, losses[-1])
    delta = finite_delta(moving, where=f"{client.where}, after step {len(losses) - 1}")
    return ClientUpdate(
        delta=delta,
        num_examples=client.num_examples,
        num_steps=len(losses),
        loss=sum(losses) / len(losses),
        kept={} if client.kept is None else {**client.kept, **moving.state()},
    )


def freeze_all_but(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The parameters of these names, the only ones that want a gradient now. Changes ``model``."""
    kept = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in kept)
        parameter.grad = None
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def finite_delta(moving: Moving, *, where: str) -> dict[str, Tensor]:
    """What has moved so far. Raises :class:`DivergenceError` where it is not finite."""
    delta = moving.delta()
    bad = p.non_finite_names(delta)
    if bad:
        raise_divergence(where=f"{where}, {bad[0]}", got="NaN or inf")
    return delta


def check_finite(loss: float, *, where: str) -> None:
    """Raise :class:`DivergenceError` for a loss that is not finite."""
    if not math.isfinite(loss):
        raise_divergence(where=where, got=f"a loss of {loss}")


def raise_divergence(*, where: str, got: str) -> NoReturn:
    """Raise :class:`DivergenceError` that says where, and what to try."""
    raise DivergenceError(
        "training diverged",
        where=where,
        got=got,
        expected="finite numbers",
        fix="lower client.learning_rate or client.max_grad_norm, or look for broken examples",
    )
