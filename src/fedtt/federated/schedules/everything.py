"""No choice: everything trains in every round."""

from fedtt.federated.types import ServerState


def all_parameters(state: ServerState) -> frozenset[str]:
    """Everything that can be exchanged, every round: FedTT, and plain FedAvg for any adapter."""
    return frozenset(state.params)
