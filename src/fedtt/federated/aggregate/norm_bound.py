"""No update is longer than a bound: what is, is shortened before anything is aggregated.

A client then moves the model by so much and no further, whatever it sends (Sun et al. 2019, arXiv
1911.07963). This is no differential privacy: there is no noise, and a bound that follows the
updates of the round tells of them.
"""

from dataclasses import dataclass, replace
from statistics import median
from typing import ClassVar

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.privacy.fixed_point import norm_of
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class NormBound:
    """``inner``, of updates no longer than ``bound``: one at a time, whatever the cohort's size."""

    linear: ClassVar[bool] = False
    bound: float
    inner: Aggregation

    @property
    def fewest(self) -> int:
        """As many as what aggregates them takes."""
        return self.inner.fewest

    def include(self, delta: Params, *, start: Params, weight: float) -> "NormBound":
        """The aggregation with one more client in it."""
        shortened = shorten(delta, bound=self.bound)
        return replace(self, inner=self.inner.include(shortened, start=start, weight=weight))

    def result(self, *, start: Params) -> Aggregate:
        """The aggregated change of ``start``."""
        return self.inner.result(start=start)


@dataclass(frozen=True, kw_only=True)
class MedianNormBound:
    """``inner``, of updates no longer than the median length of the round's.

    While hostile clients are fewer than half, that is between the lengths of two honest updates.
    It keeps every update, and takes three: of two, the longer one sets the bound.
    """

    linear: ClassVar[bool] = False
    inner: Aggregation
    kept: tuple[tuple[Params, Params, float], ...] = ()

    @property
    def fewest(self) -> int:
        """Three, or what aggregates them takes."""
        return max(3, self.inner.fewest)

    def include(self, delta: Params, *, start: Params, weight: float) -> "MedianNormBound":
        """The aggregation with one more client in it."""
        return replace(self, kept=(*self.kept, (delta, start, weight)))

    def result(self, *, start: Params) -> Aggregate:
        """The aggregated change of ``start``."""
        bound = median(norm_of(delta) for delta, _, _ in self.kept) if self.kept else 0.0
        inner = self.inner
        for delta, own_start, weight in self.kept:
            inner = inner.include(shorten(delta, bound=bound), start=own_start, weight=weight)
        return inner.result(start=start)


def shorten(delta: Params, *, bound: float) -> Params:
    """``delta``, all tensors of it together, at most ``bound`` long (L2); itself where it is."""
    norm = norm_of(delta)
    return delta if norm <= bound else p.scale(delta, bound / norm)
