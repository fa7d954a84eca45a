"""Streaming aggregation: one update at a time, memory independent of the cohort's size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params

Weighting = Callable[[ClientUpdate], float]

# How much a client's update counts: by its examples (FedAvg), or every client the same.
WEIGHTINGS: Mapping[str, Weighting] = {
    "examples": lambda update: float(update.num_examples),
    "uniform": lambda update: 1.0,  # noqa: ARG005  (both take the update)
}


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
    """Running ``sum_k w_k delta_k`` and ``sum_k w_k``, summed in float64."""

    weighted_sum: Params = field(default_factory=dict)
    weight: float = 0.0

    def include(self, delta: Params, *, weight: float) -> "WeightedMean":
        """The mean with one more client in it. ``weight`` must be positive."""
        if not weight > 0:
            raise FedttError("a client update needs a positive weight", got=weight)
        term = {name: tensor.to(torch.float64) * weight for name, tensor in delta.items()}
        total = p.add(self.weighted_sum, term) if self.weighted_sum else term
        return WeightedMean(weighted_sum=total, weight=self.weight + weight)

    def result(self, *, like: Params) -> dict[str, torch.Tensor]:
        """``sum_k w_k delta_k / sum_k w_k`` in the types of ``like``.

        Raises :class:`FedttError` if no client was included.
        """
        if not self.weight:
            raise FedttError("no client update to average", fix="check why the cohort is empty")
        return {
            name: (total / self.weight).to(like[name].dtype)
            for name, total in self.weighted_sum.items()
        }
