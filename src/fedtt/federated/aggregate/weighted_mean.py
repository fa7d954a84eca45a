"""The mean of the clients' updates, weighted: FedAvg (McMahan et al. 2017)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import (
    Aggregate,
    Aggregation,
    check_not_empty,
    check_weight,
)
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class WeightedMean:
    """Running ``sum_k w_k delta_k`` and ``sum_k w_k``, summed in float64.

    One update at a time: memory does not depend on the cohort's size.
    """

    linear: ClassVar[bool] = True
    fewest: ClassVar[int] = 1
    weighted_sum: Params = field(default_factory=dict)
    weight: float = 0.0

    def include(self, delta: Params, *, start: Params, weight: float) -> "WeightedMean":  # noqa: ARG002  (others need the start)
        """The mean with one more client in it. ``weight`` must be positive."""
        check_weight(weight)
        term = {name: tensor.to(torch.float64) * weight for name, tensor in delta.items()}
        total = p.add(self.weighted_sum, term) if self.weighted_sum else term
        return WeightedMean(weighted_sum=total, weight=self.weight + weight)

    def result(self, *, start: Params) -> Aggregate:
        """``sum_k w_k delta_k / sum_k w_k`` in the types of ``start``.

        Raises :class:`FedttError` if no client was included.
        """
        check_not_empty(self.weight)
        mean = {
            name: (total / self.weight).to(start[name].dtype)
            for name, total in self.weighted_sum.items()
        }
        return Aggregate(delta=mean)


def plain_mean(trim: float) -> Aggregation:  # noqa: ARG001  (as every row of the table takes it)
    """FedAvg's."""
    return WeightedMean()
