"""What a client does in a round: K local steps from the broadcast parameters.

The loop is Algorithm 1 of FedAvg (McMahan et al. 2017), ClientUpdate, with AdamW as the local
optimizer, over the exchanged parameters only.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NoReturn, Protocol

import torch
from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import DivergenceError
from fedtt.federated.local.client import Batch, LocalClient
from fedtt.federated.local.kept_moments import put_back, taken_out
from fedtt.federated.local.stacked_state import StackedState
from fedtt.federated.local.step import LocalTraining, Trained, local_step, make_optimizer
from fedtt.federated.subspace import Projection
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params
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
    if projection is None:
        moving: _Moving = _Parameters(
            weights, origin, training=training, learning_rate=learning_rate, kept=client.kept
        )
    else:
        moving = _InSubspace(
            weights, origin, projection=projection, training=training, learning_rate=learning_rate
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
    delta = moving.delta()
    bad = p.non_finite_names(delta)
    if bad:
        raise_divergence(
            where=f"{client.where}, after step {len(losses) - 1}, {bad[0]}", got="NaN or inf"
        )
    return ClientUpdate(
        delta=delta,
        num_examples=client.num_examples,
        num_steps=len(losses),
        loss=sum(losses) / len(losses),
        kept={} if client.kept is None else {**client.kept, **moving.state()},
    )


class _Moving(Protocol):
    """What moves the model's parameters, given their gradients, and what is sent of it."""

    def step(self) -> None:
        """One local step. Changes the parameters."""

    def delta(self) -> dict[str, Tensor]:
        """The change so far, on the CPU."""

    def state(self) -> dict[str, Tensor]:
        """The optimizer's, on the CPU: what a client can go on from in its next round."""


class _Parameters:
    """Every parameter by itself."""

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        origin: Params,
        *,
        training: LocalTraining,
        learning_rate: float,
        kept: Params | None,
    ) -> None:
        self._weights, self._origin, self._training = weights, origin, training
        self._there = {name: origin[name].to(weight.device) for name, weight in weights.items()}
        self._optimizer = make_optimizer(
            list(weights.values()),
            training=training,
            learning_rate=learning_rate,
            factors=[training.factor(name) for name in weights],
        )
        put_back(self._optimizer, weights, kept or {})

    def step(self) -> None:
        local_step(_trained(self._weights, self._there), training=self._training)
        self._optimizer.step()

    def delta(self) -> dict[str, Tensor]:
        reached = {
            name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()
        }
        return p.subtract(p.select(reached, reached), self._origin)

    def state(self) -> dict[str, Tensor]:
        return taken_out(self._optimizer, self._weights)


class _InSubspace:
    """All parameters by the numbers of a subspace: a cohort of one."""

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        origin: Params,
        *,
        projection: Projection,
        training: LocalTraining,
        learning_rate: float,
    ) -> None:
        self._device = next(iter(weights.values())).device
        self._state = StackedState(
            [origin],
            training=training,
            learning_rate=learning_rate,
            device=self._device,
            projection=projection,
        )
        self._weights = [weights[name] for name in self._state.names]

    def step(self) -> None:
        device = self._device  # a model may be spread over several
        gradients = [None if w.grad is None else w.grad[None].to(device) for w in self._weights]
        self._state.take_gradient([0], gradients)
        self._state.step()
        with torch.no_grad():
            for weight, moved in zip(self._weights, self._state.leaves([0]), strict=True):
                weight.copy_(moved[0])

    def delta(self) -> dict[str, Tensor]:
        self._state.end(0)
        return self._state.deltas()[0]

    def state(self) -> dict[str, Tensor]:
        raise AssertionError("the numbers of a subspace start anew in every round")


def freeze_all_but(model: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The parameters of these names, the only ones that want a gradient now. Changes ``model``."""
    kept = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in kept)
        parameter.grad = None
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _trained(weights: Mapping[str, nn.Parameter], origin: Params) -> list[Trained]:
    """Views of what has a gradient, as of a cohort of one."""
    return [
        Trained(gradient=weight.grad[None], weight=weight[None], origin=origin[name][None])
        for name, weight in weights.items()
        if weight.grad is not None
    ]


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
