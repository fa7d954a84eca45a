"""What clients train in a subspace, and how it moves their parameters."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from fedtt.federated.local.step import LocalTraining, Trained, local_step, make_optimizer
from fedtt.federated.subspace import Projection


class SubspaceState:
    """The numbers of ``K`` clients, ``theta`` ``(K, d)``, from zero, and their optimizer's state.

    ``origin`` ``(K, D)`` are the parameters where ``theta`` is zero. ``step`` changes it.
    """

    def __init__(
        self,
        origin: Tensor,
        *,
        projection: Projection,
        training: LocalTraining,
        learning_rate: float,
    ) -> None:
        self._origin = origin
        self._projection = projection.to(origin.device)
        zeros = origin.new_zeros(len(origin), len(projection.squares))
        self.theta = nn.Parameter(zeros, requires_grad=False)
        self._training, self._learning_rate = training, learning_rate
        rates = [
            torch.full((spec.num_elements,), training.factor(name))
            for name, spec in projection.specs.items()
        ]
        self._rates = torch.cat(rates).to(origin.device)
        self._optimizer = make_optimizer(
            [self.theta], training=replace(training, weight_decay=0.0), learning_rate=learning_rate
        )

    def step(self, gradient: Tensor, *, weights: Tensor) -> Tensor:
        """The local step, for the gradient ``(K, D)`` at ``weights``; the parameters after it."""
        return self.step_along(self._projection.reduce(gradient), weights=weights)

    def step_along(self, gradient: Tensor, *, weights: Tensor) -> Tensor:
        """The same, for a gradient of the numbers, ``(K, d)``."""
        theta, squares = self.theta, self._projection.squares
        theta.grad = gradient
        # A proximal term is of |P theta|^2, whose gradient has the squares in it.
        moved = Trained(gradient=theta.grad, weight=theta * squares, origin=torch.zeros_like(theta))
        local_step([moved], training=self._training)
        self._decay(weights)
        self._optimizer.step()
        return self._origin + self._projection.expand(theta.detach())

    def _decay(self, weights: Tensor) -> None:
        """The optimizer's weight decay, of the parameters, as far as the numbers can follow it."""
        strength = self._training.weight_decay
        if not strength:
            return
        if self._training.decouples_decay:
            pulled = self._projection.reduce(weights * self._rates)
            nearest = pulled / self._projection.squares
            self.theta.sub_(nearest, alpha=self._learning_rate * strength)
        else:
            assert self.theta.grad is not None  # made by the step
            self.theta.grad.add_(self._projection.reduce(weights), alpha=strength)
