"""The sum of clipped updates: every client the same, whatever it says of itself."""

from dataclasses import dataclass, field, replace

from fedtt import params as p
from fedtt.federated.privacy.fixed_point import clip_to_grid, norm_of
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class ClippedSum:
    """In whole steps of ``clipping_norm / GRID``; ``balance`` is how many updates were not longer
    than the clipping norm, less how many were.

    Nobody's update changes the sum by more than ``GRID``, nor the balance by more than 1. A client
    that does not answer adds zero to both.
    """

    clipping_norm: float
    total: Params = field(default_factory=dict)
    balance: int = 0

    def include(self, delta: Params) -> "ClippedSum":
        """The sum with one more client in it."""
        clipped = clip_to_grid(delta, clipping_norm=self.clipping_norm)
        within = norm_of(delta) <= self.clipping_norm
        return replace(
            self,
            total=p.add(self.total, clipped) if self.total else clipped,
            balance=self.balance + (1 if within else -1),
        )
