"""The server's step: from the mean of the clients' deltas to the next global state."""

from fedtt import params as p
from fedtt.federated.types import ServerState
from fedtt.params import Params


def fedavg_step(state: ServerState, mean_delta: Params, *, learning_rate: float) -> ServerState:
    """FedAvg: ``params + learning_rate * mean_delta`` (McMahan et al. 2017 at rate 1).

    Parameters that ``mean_delta`` does not name stay bit-identical.
    """
    moved = p.add(p.select(state.params, mean_delta), p.scale(mean_delta, learning_rate))
    return ServerState(
        next_round=state.next_round + 1,
        params=p.merge(state.params, moved),
        optimizer=state.optimizer,
    )
