"""Which exchanged parameters train and travel in a round.

A schedule is a pure function of the server's state. FedTT and FedTT+ (arXiv 2410.13097) differ in
this function alone.
"""

from collections.abc import Callable

from fedtt.federated.types import ServerState

Schedule = Callable[[ServerState], frozenset[str]]


def all_parameters(state: ServerState) -> frozenset[str]:
    """Everything that can be exchanged, every round: FedTT, and plain FedAvg for any adapter."""
    return frozenset(state.params)
