"""The geometric median of whole updates: the point of least summed distance to them.

Robust aggregation after Pillutla, Kakade and Harchaoui 2022 (arXiv 1912.13445), by the smoothed
algorithm of Weiszfeld: it bears hostile clients while they are fewer than half, however far they
go.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedtt.errors import FedttError
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.params import Params

MOST_STEPS, CLOSE = 200, 1e-9  # steps, and the relative change of the weights that ends them
SMOOTH = 1e-9  # of the median distance: what is closer than that counts as so far


@dataclass(frozen=True, kw_only=True)
class GeometricMedian:
    """Every client counts the same. It keeps every update."""

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 3
    deltas: tuple[Params, ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "GeometricMedian":  # noqa: ARG002
        """The aggregation with one more client in it."""
        return GeometricMedian(deltas=(*self.deltas, delta))

    def result(self, *, start: Params) -> Aggregate:
        """The median in the types of ``start``. Raises :class:`FedttError` for fewer than three."""
        count = len(self.deltas)
        if count < self.fewest:
            raise FedttError(
                "too few clients for a median", got=count, expected=f"at least {self.fewest}"
            )
        names = sorted(self.deltas[0])
        points = torch.stack(
            [torch.cat([delta[n].flatten().double() for n in names]) for delta in self.deltas]
        )
        flat = geometric_median_of(points)
        parts = flat.split([self.deltas[0][name].numel() for name in names])
        return Aggregate(
            delta={
                name: part.reshape(self.deltas[0][name].shape).to(start[name].dtype)
                for name, part in zip(names, parts, strict=True)
            }
        )


def geometric_median_of(points: Tensor) -> Tensor:
    """``(n, D)`` to ``(D,)``, in float64; begins at the median of every coordinate."""
    at = points.median(dim=0).values
    weights = torch.zeros(len(points), dtype=points.dtype)
    for _ in range(MOST_STEPS):
        distances = (points - at).norm(dim=1)
        middle = float(distances.median())
        if middle == 0:
            return at  # the word of more than half
        inverse = 1 / distances.clamp_min(SMOOTH * middle)
        new = inverse / inverse.sum()
        at = (new[:, None] * points).sum(dim=0)
        if float((new - weights).abs().max()) <= CLOSE:
            break
        weights = new
    return at


def geometric_median(trim: float) -> Aggregation:  # noqa: ARG001
    """No share has to be said."""
    return GeometricMedian()
