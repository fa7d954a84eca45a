"""What the server does to a single update before the method's aggregation sees it."""

from dataclasses import dataclass

from fedtt.federated.aggregate.aggregation import Aggregation
from fedtt.federated.aggregate.norm_bound import MedianNormBound, NormBound
from fedtt.federated.aggregate.weight_cap import WeightCap


@dataclass(frozen=True, kw_only=True)
class UpdateLimits:
    """``norm`` is the length beyond which an update is shortened, None for any; with
    ``median_norm`` it is the round's median. ``weight_share`` is how much of the total weight one
    client may hold at most.
    """

    norm: float | None = None
    median_norm: bool = False
    weight_share: float = 1.0

    @property
    def bounds_length(self) -> bool:
        """Whether an update can be shortened: only who sees each by itself can do that."""
        return self.median_norm or self.norm is not None

    def around(self, aggregation: Aggregation) -> Aggregation:
        """``aggregation``, which then takes updates within the limits."""
        if self.weight_share < 1:
            aggregation = WeightCap(share=self.weight_share, inner=aggregation)
        if self.norm is not None:
            aggregation = NormBound(bound=self.norm, inner=aggregation)
        return MedianNormBound(inner=aggregation) if self.median_norm else aggregation


NO_LIMITS = UpdateLimits()
