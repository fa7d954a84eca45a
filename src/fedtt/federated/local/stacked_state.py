"""What the clients of a cohort train, stacked, and how it moves."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fedtt.federated.local.row_optimizer import RowOptimizer
from fedtt.federated.local.step import LocalTraining, Trained, local_step
from fedtt.federated.local.subspace_state import SubspaceState
from fedtt.federated.subspace import THETA, Projection
from fedtt.params import Params


class StackedState:
    """What ``K`` clients train, ``(K, P)``, their gradients and their optimizer's state.

    ``starts`` are the trained parameters of each. Every method but ``leaves`` and ``deltas``
    changes it. ``ended`` holds the rows of the clients that have taken their last step. With a
    ``projection`` they are moved by the numbers of a subspace.
    """

    def __init__(
        self,
        starts: Sequence[Params],
        *,
        training: LocalTraining,
        learning_rate: float,
        device: torch.device,
        projection: Projection | None = None,
    ) -> None:
        self.names = sorted(starts[0])
        self.ended: dict[int, Tensor] = {}
        self._shapes = [starts[0][name].shape for name in self.names]
        self._sizes = [shape.numel() for shape in self._shapes]
        rows = [torch.cat([start[name].flatten() for name in self.names]) for start in starts]
        self._origin = torch.stack(rows).to(device)
        self._weights = nn.Parameter(self._origin.clone(), requires_grad=False)
        self._weights.grad = torch.zeros_like(self._origin)
        self._training = training
        self._reached: set[str] = set()
        self._subspace: SubspaceState | None = None
        if projection is None:
            self._optimizer = RowOptimizer(
                self._weights,
                [(training.factor(name), size) for name, _, size in self._columns()],
                training=training,
                learning_rate=learning_rate,
            )
        else:  # which has an optimizer of its own, of its numbers
            self._subspace = SubspaceState(
                self._origin, projection=projection, training=training, learning_rate=learning_rate
            )

    def end(self, client: int) -> None:
        """Keep what a client ends with: what the others' steps do to its row is of no account."""
        self.ended[client] = self._moving[client].detach().clone()

    def leaves(self, members: Sequence[int]) -> list[Tensor]:
        """The members' parameters ``(n, *shape)``, in the order of ``names``, for one forward."""
        whole = len(members) == len(self._weights)
        rows = self._weights if whole else self._weights[list(members)]
        parts = rows.detach().split(self._sizes, dim=1)
        return [
            part.reshape(len(members), *shape).requires_grad_()
            for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def take_gradient(self, members: Sequence[int], gradients: Sequence[Tensor | None]) -> None:
        """Keep the gradients of the members' leaves; None: the model does not use that one."""
        flat = []
        for name, size, gradient in zip(self.names, self._sizes, gradients, strict=True):
            if gradient is None:
                flat.append(self._origin.new_zeros(len(members), size))
            else:
                self._reached.add(name)
                flat.append(gradient.reshape(len(members), size))
        self._gradient[list(members)] = torch.cat(flat, dim=1)

    def step(self) -> None:
        """The local step, every client for itself."""
        if self._subspace is not None:
            self._weights.copy_(self._subspace.step(self._gradient, weights=self._weights))
            self._gradient.zero_()
            return
        trained = Trained(gradient=self._gradient, weight=self._weights, origin=self._origin)
        local_step([trained], training=self._training)
        self._optimizer.step()
        # A parameter without a gradient is none of the optimizer's business: no weight decay.
        for name, start, size in self._columns():
            if name not in self._reached:
                columns = slice(start, start + size)
                self._weights[:, columns] = self._origin[:, columns]
        self._gradient.zero_()

    def step_along(self, gradient: Tensor) -> None:
        """The local step in the subspace, for a gradient ``(K, d)`` of its numbers."""
        assert self._subspace is not None  # or there are no such numbers
        self._weights.copy_(self._subspace.step_along(gradient, weights=self._weights))

    def deltas(self) -> list[dict[str, Tensor]]:
        """Every client's change from its start to where it ended, on the CPU."""
        ended = torch.stack([self.ended[index] for index in range(len(self._origin))])
        if self._subspace is not None:
            return [{THETA: row} for row in ended.cpu()]
        rows = (ended - self._origin).cpu()
        return [
            {
                name: row[start : start + size].reshape(shape).clone()
                for (name, start, size), shape in zip(self._columns(), self._shapes, strict=True)
            }
            for row in rows
        ]

    @property
    def _moving(self) -> Tensor:
        """What the optimizer moves, a row a client."""
        return self._weights if self._subspace is None else self._subspace.theta

    @property
    def _gradient(self) -> Tensor:
        assert self._weights.grad is not None  # made with it
        return self._weights.grad

    def _columns(self) -> Iterator[tuple[str, int, int]]:
        start = 0
        for name, size in zip(self.names, self._sizes, strict=True):
            yield name, start, size
            start += size
