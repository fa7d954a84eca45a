"""An aggregation from outside: one file, and one row (``AGGREGATIONS.register``).

It is a defense: what a single client moves is bounded whatever it sends.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class MeanOfSigns:
    """Every client moves every coordinate by the same step, up or down: ``step * mean(sign)``."""

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    step: float
    signs: tuple[Params, ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "MeanOfSigns":
        signs = {name: tensor.sign() for name, tensor in delta.items()}
        return MeanOfSigns(step=self.step, signs=(*self.signs, signs))

    def result(self, *, start: Params) -> Aggregate:
        mean = {
            name: self.step * torch.stack([signs[name] for signs in self.signs]).mean(dim=0)
            for name in self.signs[0]
        }
        return Aggregate(delta={name: value.to(start[name].dtype) for name, value in mean.items()})


def mean_of_signs(trim: float) -> Aggregation:
    """The row; ``server.trim`` is no concern of it."""
    return MeanOfSigns(step=0.25)
