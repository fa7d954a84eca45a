"""Aggregation: client updates go in one by one, one change of the global model comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import ClassVar, Protocol, Self

import torch

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.types import ClientUpdate, Factors
from fedtt.params import Params

Weighting = Callable[[ClientUpdate], float]

# How much a client's update counts: by its examples (FedAvg), or every client the same.
WEIGHTINGS: Mapping[str, Weighting] = {
    "examples": lambda update: float(update.num_examples),
    "uniform": lambda update: 1.0,  # noqa: ARG005  (both take the update)
}


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What a round's updates come to.

    ``factors`` are further changes, of parameters that no client trains, as thin products.
    """

    delta: Params
    factors: Factors = field(default_factory=dict)


class Aggregation(Protocol):
    """One client update after another goes in; their aggregate comes out.

    ``fewest`` is how many updates it takes: with fewer it cannot keep what it promises. ``linear``
    says that its outcome is a fixed weighted sum of the updates, so that a sum is all it needs of
    them: what a secure sum or a calibrated noise may be combined with.
    """

    @property
    def linear(self) -> bool:
        """Whether the outcome is a fixed weighted sum of the updates."""
        ...

    @property
    def fewest(self) -> int:
        """Updates that a round must bring."""
        ...

    def include(self, delta: Params, *, start: Params, weight: float) -> Self:
        """The aggregation with one more client in it, which trained ``delta`` from ``start``."""
        ...

    def result(self, *, start: Params) -> Aggregate:
        """The aggregated change of the global parameters ``start``, in their types."""
        ...


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


def plain_mean(trim: float) -> Aggregation:  # noqa: ARG001  (as every row of the table takes it)
    """FedAvg's."""
    return WeightedMean()


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
    """How many of ``count >= 3`` values go at each end; at least one stays.

    ``0.29 * 100`` is 28.999999999999996 in binary, so the share is taken as it is written.
    """
    whole = floor(Fraction(str(trim)) * count)
    return min(max(1, whole), (count - 1) // 2)


def check_weight(weight: float) -> None:
    """Raise :class:`FedttError` unless ``weight`` is positive."""
    if not weight > 0:
        raise FedttError("a client update needs a positive weight", got=weight)


def check_not_empty(weight: float) -> None:
    """Raise :class:`FedttError` if nothing was included."""
    if not weight:
        raise FedttError("no client update to average", fix="check why the cohort is empty")
