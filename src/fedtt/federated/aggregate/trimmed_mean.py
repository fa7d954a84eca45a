"""What bears clients that send anything at all: the trimmed mean and the median, by coordinate."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import ClassVar

import torch

from fedtt.errors import FedttError
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class TrimmedMean:
    """Coordinate by coordinate, the mean without the ``trim`` lowest and highest shares.

    Yin et al. 2018 (arXiv 1803.01498), robust to that share of clients that send anything at all,
    and to one in any case: of ``n`` values ``max(1, floor(trim * n))`` are dropped at each end,
    with ``trim`` as the decimal that it is written as; ``trim=0.5`` is the coordinate median. So it
    takes three clients. Every client counts the same. It has to keep every update: memory grows
    with the cohort.
    """

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 3
    trim: float
    deltas: tuple[Params, ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "TrimmedMean":  # noqa: ARG002
        """The aggregation with one more client in it."""
        return TrimmedMean(trim=self.trim, deltas=(*self.deltas, delta))

    def result(self, *, start: Params) -> Aggregate:
        """The trimmed mean in the types of ``start``.

        Raises :class:`FedttError` for fewer than three clients.
        """
        count = len(self.deltas)
        if count < self.fewest:
            raise FedttError(
                "too few clients to trim any", got=count, expected=f"at least {self.fewest}"
            )
        cut = trimmed_at_each_end(self.trim, count)
        result = {}
        for name in self.deltas[0]:
            stacked = torch.stack([delta[name] for delta in self.deltas]).double()
            kept = stacked.sort(dim=0).values[cut : count - cut]
            result[name] = kept.mean(dim=0).to(start[name].dtype)
        return Aggregate(delta=result)


def coordinate_median(trim: float) -> Aggregation:  # noqa: ARG001
    """All but the middle is trimmed."""
    return TrimmedMean(trim=0.5)


def trimmed_mean(trim: float) -> Aggregation:
    """That share is trimmed at each end."""
    return TrimmedMean(trim=trim)


def without_defense(aggregation: Aggregation) -> Aggregation:
    """What is left of it for a single client: a defense against others is the plain mean."""
    return WeightedMean() if aggregation.fewest > 1 else aggregation


def trimmed_at_each_end(trim: float, count: int) -> int:
    """How many of ``count >= 3`` values go at each end; at least one stays."""
    return share_of_clients(trim, count, most=(count - 1) // 2)


def share_of_clients(share: float, count: int, *, most: int) -> int:
    """``floor(share * count)``, at least one and at most so many; the share as it is written.

    ``0.29 * 100`` is 28.999999999999996 in binary.
    """
    return min(max(1, floor(Fraction(str(share)) * count)), most)
