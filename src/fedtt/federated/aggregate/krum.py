"""Krum and multi-Krum: whole updates that lie close to many others, and none that does not.

Blanchard et al. 2017 (arXiv 1703.02757). An update's score is the sum of its squared distances to
its ``n - f - 2`` nearest others, where ``f`` of the ``n`` clients send anything at all. Krum takes
the update of the least score, multi-Krum the mean of the ``n - f`` least.

An update of nothing, or next to it, lies close to all others: honest ones, of some length and
nearly at right angles, are farther from each other than from the origin. Krum then keeps whoever
has not trained. Directional Krum is multi-Krum of updates made equally long.
"""

from dataclasses import dataclass, replace
from statistics import median
from typing import ClassVar

import torch
from torch import Tensor

from fedtt import params as p
from fedtt.errors import FedttError
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.aggregate.trimmed_mean import share_of_clients
from fedtt.federated.privacy.fixed_point import norm_of
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class Krum:
    """Bears ``f = max(1, floor(trim * n))`` hostile clients of ``n``, within ``n >= 2 f + 3``.

    With ``several``, multi-Krum; with ``level``, of updates that are all as long as their median,
    and those of no length come last. Every client counts the same. It keeps every update.
    """

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 5
    trim: float
    several: bool
    level: bool = False
    deltas: tuple[Params, ...] = ()

    def include(self, delta: Params, *, start: Params, weight: float) -> "Krum":  # noqa: ARG002
        """The aggregation with one more client in it."""
        return replace(self, deltas=(*self.deltas, delta))

    def result(self, *, start: Params) -> Aggregate:
        """The chosen update, or the mean of the chosen ones, in the types of ``start``.

        Raises :class:`FedttError` for fewer than five clients.
        """
        count = len(self.deltas)
        if count < self.fewest:
            raise FedttError(
                "too few clients to tell who is far from the others",
                got=count,
                expected=f"at least {self.fewest}",
            )
        hostile = share_of_clients(self.trim, count, most=(count - 3) // 2)
        norms = [norm_of(delta) for delta in self.deltas] if self.level else []
        deltas = leveled(self.deltas, norms) if self.level else self.deltas
        scores = krum_scores(deltas, hostile=hostile)
        if self.level:
            scores[[not norm for norm in norms]] = torch.inf
        chosen = scores.argsort(stable=True)[: count - hostile if self.several else 1].tolist()
        return Aggregate(
            delta={
                name: torch.stack([deltas[i][name] for i in chosen])
                .double()
                .mean(dim=0)
                .to(start[name].dtype)
                for name in deltas[0]
            }
        )


def leveled(deltas: tuple[Params, ...], norms: list[float]) -> tuple[Params, ...]:
    """All of the median of the ``norms`` that are not 0, in float64; nothing stays nothing."""
    length = median([norm for norm in norms if norm] or [0.0])
    return tuple(
        p.scale({name: tensor.double() for name, tensor in delta.items()}, length / (norm or 1.0))
        for delta, norm in zip(deltas, norms, strict=True)
    )


def krum_scores(deltas: tuple[Params, ...], *, hostile: int) -> Tensor:
    """``(n,)``: sums of squared L2 distances to the ``n - hostile - 2`` nearest others, float64."""
    squares = sum(
        (
            torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
            for flat in (
                torch.stack([delta[name].flatten().double() for delta in deltas])
                for name in deltas[0]
            )
        ),
        torch.zeros(len(deltas), len(deltas), dtype=torch.float64),
    )
    squares.fill_diagonal_(torch.inf)  # an update is no neighbor of itself
    return squares.sort(dim=1).values[:, : len(deltas) - hostile - 2].sum(dim=1)


def krum(trim: float) -> Aggregation:
    """One client's update."""
    return Krum(trim=trim, several=False)


def multi_krum(trim: float) -> Aggregation:
    """The mean without those that lie far from the others."""
    return Krum(trim=trim, several=True)


def directional_krum(trim: float) -> Aggregation:
    """Multi-Krum that goes by direction: neither a long update nor an idle one passes for near."""
    return Krum(trim=trim, several=True, level=True)
