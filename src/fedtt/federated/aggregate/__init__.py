"""Aggregations that a configuration can choose by ``server.aggregation``; importing this is light.

A row is a function from ``server.trim`` to an ``Aggregation``. What bears clients that send
anything at all is a defense: a row like the others.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedtt.registry import Registry

if TYPE_CHECKING:
    from fedtt.federated.aggregate.aggregation import Aggregation

MEAN = "mean"
AGGREGATIONS: "Registry[Callable[[float], Aggregation]]" = Registry(
    "aggregation",
    {
        MEAN: "fedtt.federated.aggregate.weighted_mean:plain_mean",
        "median": "fedtt.federated.aggregate.trimmed_mean:coordinate_median",
        "trimmed-mean": "fedtt.federated.aggregate.trimmed_mean:trimmed_mean",
        "geometric-median": "fedtt.federated.aggregate.geometric_median:geometric_median",
        "krum": "fedtt.federated.aggregate.krum:krum",
        "multi-krum": "fedtt.federated.aggregate.krum:multi_krum",
        "directional-krum": "fedtt.federated.aggregate.krum:directional_krum",
    },
    group="fedtt.aggregations",
)
