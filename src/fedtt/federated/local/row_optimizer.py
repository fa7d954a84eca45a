"""One optimizer for the clients of a cohort, with learning rates that differ by column."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedtt.federated.local.step import LocalTraining, make_optimizer


class RowOptimizer:
    """Moves ``weights`` ``(K, P)`` along their gradient, in place; column ``j`` by ``factors[j]``.

    ``factors`` are runs ``(factor, columns)`` that cover the row in order. Where all are the same,
    the optimizer works on ``weights`` themselves; else on a copy of the columns of each factor:
    fused kernels want tensors without gaps.
    """

    def __init__(
        self,
        weights: nn.Parameter,
        factors: Sequence[tuple[float, int]],
        *,
        training: LocalTraining,
        learning_rate: float,
    ) -> None:
        self._weights = weights
        distinct = sorted({factor for factor, _ in factors})
        self._columns: list[Tensor] = []
        self._parts = [weights]
        if len(distinct) > 1:
            of_column = torch.tensor([f for f, n in factors for _ in range(n)], dtype=torch.float64)
            self._columns = [
                (of_column == factor).nonzero().flatten().to(weights.device) for factor in distinct
            ]
            self._parts = [
                nn.Parameter(weights.detach()[:, columns], requires_grad=False)
                for columns in self._columns
            ]
        self._optimizer = make_optimizer(
            self._parts, training=training, learning_rate=learning_rate, factors=distinct
        )

    def step(self) -> None:
        """The optimizer's step, every column at its rate."""
        gradient = self._weights.grad
        assert gradient is not None  # kept with the weights
        for part, columns in zip(self._parts, self._columns, strict=False):
            part.copy_(self._weights[:, columns])
            part.grad = gradient[:, columns]
        self._optimizer.step()
        for part, columns in zip(self._parts, self._columns, strict=False):
            self._weights[:, columns] = part
