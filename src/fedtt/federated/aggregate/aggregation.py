"""Aggregation: client updates go in one by one, one change of the global model comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

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
    ``privacy`` is what the next state holds of it, where noise was added.
    """

    delta: Params
    factors: Factors = field(default_factory=dict)
    privacy: Mapping[str, float] = field(default_factory=dict)


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


def check_weight(weight: float) -> None:
    """Raise :class:`FedttError` unless ``weight`` is positive."""
    if not weight > 0:
        raise FedttError("a client update needs a positive weight", got=weight)


def check_not_empty(weight: float) -> None:
    """Raise :class:`FedttError` if nothing was included."""
    if not weight:
        raise FedttError("no client update to average", fix="check why the cohort is empty")
