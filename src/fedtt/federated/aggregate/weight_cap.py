"""Nobody holds more than a share of the total weight, whatever number of examples it claims."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import NamedTuple

from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation, check_weight
from fedtt.params import Params


class _Waiting(NamedTuple):
    weight: float
    delta: Params
    start: Params


@dataclass(frozen=True, kw_only=True)
class WeightCap:
    """``inner``, with weights ``min(w_k, t)``, such that none is above ``share`` of their sum.

    ``t`` is :func:`capped_at`. The heaviest ``floor(1 / share)`` updates, which alone it can
    concern, wait until the end; the others are summed as they come, so memory does not depend on
    the cohort's size.
    """

    share: float
    inner: Aggregation
    heaviest: tuple[_Waiting, ...] = ()
    rest: float = 0.0  # weight of those that do not wait

    @property
    def linear(self) -> bool:
        """As what sums them up."""
        return self.inner.linear

    @property
    def fewest(self) -> int:
        """As many as what aggregates them takes."""
        return self.inner.fewest

    def include(self, delta: Params, *, start: Params, weight: float) -> "WeightCap":
        """The aggregation with one more client in it."""
        check_weight(weight)
        waiting = sorted(
            (*self.heaviest, _Waiting(weight, delta, start)), key=lambda update: -update.weight
        )
        most = clients_at(self.share)
        inner, rest = self.inner, self.rest
        for update in waiting[most:]:
            inner = inner.include(update.delta, start=update.start, weight=update.weight)
            rest += update.weight
        return replace(self, heaviest=tuple(waiting[:most]), inner=inner, rest=rest)

    def result(self, *, start: Params) -> Aggregate:
        """The aggregated change of ``start``."""
        weights = [update.weight for update in self.heaviest]
        limit = capped_at(weights, rest=self.rest, share=self.share)
        inner = self.inner
        for update in self.heaviest:
            weight = min(update.weight, limit)
            inner = inner.include(update.delta, start=update.start, weight=weight)
        return inner.result(start=start)


def clients_at(share: float) -> int:
    """How many clients may hold that share each; as it is written, so three hold 0.3."""
    return floor(1 / Fraction(str(share)))


def capped_at(heaviest: Sequence[float], *, rest: float, share: float) -> float:
    """The largest ``t`` for which ``min(w, t)`` is at most ``share`` of the sum of all of them.

    ``heaviest`` are the ``floor(1 / share)`` largest weights, descending, ``rest`` is the sum of
    the others. Where so few are there that it cannot be, ``t`` makes all of them the same.
    """
    part = Fraction(str(share))
    for capped, next_one in enumerate(heaviest):
        others = sum(heaviest[capped:]) + rest
        limit = others * float(part / (1 - capped * part))
        if next_one <= limit:
            return limit if capped else next_one
    if not rest:
        return min(heaviest, default=0.0)
    return rest * float(part / (1 - len(heaviest) * part))
