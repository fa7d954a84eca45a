"""Which exchanged parameters train and travel in a round.

A schedule is a pure function of the server's state to the names that train in the next round. FedTT
and FedTT+ (arXiv 2410.13097) differ in this function alone. Those of the table can be chosen by
``method.schedule``; importing it is light.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fedtt.registry import Registry

if TYPE_CHECKING:
    from fedtt.federated.types import ServerState

Schedule = Callable[["ServerState"], frozenset[str]]

SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "all": "fedtt.federated.schedules.everything:all_parameters",
        "cycle": "fedtt.federated.schedules.tensor_train_cores:cycle",
        "ends+cycle": "fedtt.federated.schedules.tensor_train_cores:ends_and_cycle",
        "adaptive": "fedtt.federated.schedules.tensor_train_cores:adaptive",
    },
    group="fedtt.schedules",
)

__all__ = ["SCHEDULES", "Schedule"]
