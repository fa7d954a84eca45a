"""How one client's parameters move along their gradients: by themselves, or in a subspace."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from fedtt import params as p
from fedtt.federated.local.kept_moments import put_back, taken_out
from fedtt.federated.local.stacked_state import StackedState
from fedtt.federated.local.step import LocalTraining, Trained, local_step, make_optimizer
from fedtt.federated.subspace import Projection
from fedtt.params import Params


class Moving(Protocol):
    """What moves the model's parameters, given their gradients, and what is sent of it."""

    @property
    def names(self) -> Sequence[str]:
        """Of the parameters, in the order of a row."""

    def step(self) -> None:
        """One local step along the parameters' own ``grad``. Changes the parameters."""

    def reduce(self, rows: Tensor) -> Tensor:
        """Gradients of all parameters ``(b, D)`` as those of the ``d`` numbers that train."""

    def step_along(self, gradient: Tensor) -> None:
        """One local step along a gradient ``(d,)`` of these. Changes the parameters."""

    def delta(self) -> dict[str, Tensor]:
        """The change so far, on the CPU."""

    def state(self) -> dict[str, Tensor]:
        """The optimizer's, on the CPU: what a client can go on from in its next round."""


class ByParameter:
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
        self.names = tuple(weights)
        put_back(self._optimizer, weights, kept or {})

    def step(self) -> None:
        """As :meth:`Moving.step`."""
        local_step(_trained(self._weights, self._there), training=self._training)
        self._optimizer.step()

    def reduce(self, rows: Tensor) -> Tensor:
        """They are the numbers that train."""
        return rows

    def step_along(self, gradient: Tensor) -> None:
        """As :meth:`Moving.step_along`."""
        parts = gradient.split([weight.numel() for weight in self._weights.values()])
        for weight, part in zip(self._weights.values(), parts, strict=True):
            weight.grad = part.reshape(weight.shape).to(weight)
        self.step()

    def delta(self) -> dict[str, Tensor]:
        """As :meth:`Moving.delta`."""
        reached = {
            name: weight.detach().to("cpu", copy=True) for name, weight in self._weights.items()
        }
        return p.subtract(p.select(reached, reached), self._origin)

    def state(self) -> dict[str, Tensor]:
        """As :meth:`Moving.state`."""
        return taken_out(self._optimizer, self._weights)


class InSubspace:
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
        self.names = tuple(self._state.names)
        self._projection = projection.to(self._device)
        self._weights = [weights[name] for name in self.names]

    def step(self) -> None:
        """As :meth:`Moving.step`."""
        device = self._device  # a model may be spread over several
        gradients = [None if w.grad is None else w.grad[None].to(device) for w in self._weights]
        self._state.take_gradient([0], gradients)
        self._state.step()
        self._write()

    def reduce(self, rows: Tensor) -> Tensor:
        """As :meth:`Moving.reduce`."""
        return self._projection.reduce(rows)

    def step_along(self, gradient: Tensor) -> None:
        """As :meth:`Moving.step_along`."""
        self._state.step_along(gradient[None])
        self._write()

    def _write(self) -> None:
        with torch.no_grad():
            for weight, moved in zip(self._weights, self._state.leaves([0]), strict=True):
                weight.copy_(moved[0])

    def delta(self) -> dict[str, Tensor]:
        """As :meth:`Moving.delta`."""
        self._state.end(0)
        return self._state.deltas()[0]

    def state(self) -> dict[str, Tensor]:
        """None: nobody asks."""
        raise AssertionError("the numbers of a subspace start anew in every round")


def moving_of(
    weights: Mapping[str, nn.Parameter],
    origin: Params,
    *,
    projection: Projection | None,
    training: LocalTraining,
    learning_rate: float,
    kept: Params | None,
) -> Moving:
    """What moves ``weights``, which are at ``origin``: with a ``projection``, its numbers do."""
    if projection is None:
        return ByParameter(
            weights, origin, training=training, learning_rate=learning_rate, kept=kept
        )
    return InSubspace(
        weights, origin, projection=projection, training=training, learning_rate=learning_rate
    )


def _trained(weights: Mapping[str, nn.Parameter], origin: Params) -> list[Trained]:
    """Views of what has a gradient, as of a cohort of one."""
    return [
        Trained(gradient=weight.grad[None], weight=weight[None], origin=origin[name][None])
        for name, weight in weights.items()
        if weight.grad is not None
    ]
