"""The server's step: from the mean of the clients' deltas to the next global parameters.

The aggregated delta is a pseudo-gradient's negative ("Adaptive Federated Optimization", Reddi et
al. 2021, algorithm 2). Moments exist for the parameters that a round trained, and only those move:
whatever a schedule froze stays bit-identical, moments included.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fedtt import params as p
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class ServerOptimizer:
    """``fedavg``, ``fedavgm``, ``fedadam`` or ``fedyogi`` with its constants.

    ``momentum`` is beta 1 (not used by fedavg), ``beta2`` and ``adaptivity`` (tau, the floor of
    the denominator) belong to the adaptive two. First moments start at zero, second ones at
    ``adaptivity ** 2``, without bias correction, as in the paper.
    """

    name: str = "fedavg"
    learning_rate: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.99
    adaptivity: float = 1e-3

    def step(
        self, params: Params, optimizer: Params, delta: Params
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """New parameters and new moments; what ``delta`` does not name stays bit-identical."""
        moments = dict(optimizer)
        moves = {name: self._move(name, change, moments) for name, change in delta.items()}
        moved = p.add(p.select(params, moves), p.scale(moves, self.learning_rate))
        return p.merge(params, moved), moments

    def _move(self, name: str, delta: Tensor, moments: dict[str, Tensor]) -> Tensor:
        if self.name == "fedavg":
            return delta
        first = moments.get(f"first/{name}", torch.zeros_like(delta))
        if self.name == "fedavgm":
            moments[f"first/{name}"] = self.momentum * first + delta
            return moments[f"first/{name}"]
        square = delta.square()
        second = moments.get(f"second/{name}", torch.full_like(delta, self.adaptivity**2))
        if self.name == "fedadam":
            second = self.beta2 * second + (1 - self.beta2) * square
        else:
            second = second - (1 - self.beta2) * square * torch.sign(second - square)
        moments[f"first/{name}"] = self.momentum * first + (1 - self.momentum) * delta
        moments[f"second/{name}"] = second
        return moments[f"first/{name}"] / (second.sqrt() + self.adaptivity)


def progress_of(delta: Params) -> Mapping[str, float]:
    """Root mean square of every tensor of an aggregated delta."""
    return {name: float(change.double().square().mean().sqrt()) for name, change in delta.items()}
