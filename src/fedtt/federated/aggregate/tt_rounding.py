"""TT-rounding aggregation: the mean of the clients' tensor-train matrices, not of their cores.

The weighted sum of trains is a train whose ranks add. Summed exactly and rounded back to the
ranks of the model, it is the mean matrix up to the error of the rounding; averaging cores one by
one is another matrix altogether. Nothing is frozen and nothing extra is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from fedtt.federated.aggregate.aggregation import Aggregate, check_weight
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.parameter_names import tensor_trains
from fedtt.params import Params
from fedtt.tt import tt_align, tt_compress, tt_distance, tt_round, tt_scale, tt_sum

Train = Sequence[Tensor]
# Trains added before their sum is compressed. The ranks of an exact sum are bounded by the mode
# sizes, not by the number of clients: a thousand clients cost a thousand small sums.
FAN_IN = 8


@dataclass(frozen=True, kw_only=True)
class TTRounding:
    """Mean of the trains by exact addition and rounding; everything else by weighted mean.

    Of the rounded train and the train of mean cores, the one nearer to the exact mean is taken:
    the error is never above that of core-wise averaging. The rounded train is moved to the gauge
    of the mean cores, so that training goes on where the clients' optimizers left off.
    """

    linear: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    mean: WeightedMean = field(default_factory=WeightedMean)
    pending: Mapping[str, tuple[Train, ...]] = field(default_factory=dict)

    def include(self, delta: Params, *, start: Params, weight: float) -> "TTRounding":
        """The aggregation with one more client in it."""
        check_weight(weight)
        pending = {}
        for layer, names in tensor_trains(delta).items():
            cores = [start[name].double() + delta[name].double() for name in names]
            waiting = (*self.pending.get(layer, ()), tt_scale(cores, weight))
            full = len(waiting) >= FAN_IN
            pending[layer] = (tt_compress(tt_sum(waiting)),) if full else waiting
        return replace(
            self, mean=self.mean.include(delta, start=start, weight=weight), pending=pending
        )

    def result(self, *, start: Params) -> Aggregate:
        """The change from the trains in ``start`` to the rounded mean, in their types."""
        delta = dict(self.mean.result(start=start).delta)
        for layer, names in tensor_trains(delta).items():
            exact = tt_scale(tt_sum(self.pending[layer]), 1.0 / self.mean.weight)
            averaged = [start[name].double() + delta[name].double() for name in names]
            cores = _nearer(exact, averaged)
            for name, core in zip(names, cores, strict=True):
                delta[name] = core.to(start[name].dtype) - start[name]
        return Aggregate(delta=delta)


def _nearer(exact: Train, averaged: Train) -> Train:
    ranks = [1, *(core.shape[2] for core in averaged)]
    rounded = tt_align(tt_round(exact, ranks=ranks), like=averaged)
    return min((averaged, rounded), key=lambda cores: tt_distance(exact, cores))
