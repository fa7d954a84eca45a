"""A schedule from outside: one file, and one row (``SCHEDULES.register``)."""

from fedtt.federated.types import ServerState


def first_half(state: ServerState) -> frozenset[str]:
    """Half of the parameters by name in even rounds, the others in odd ones; heads in all."""
    names = sorted(name for name in state.params if "core" in name)
    resting = names[::2] if state.next_round % 2 else names[1::2]
    return frozenset(state.params) - frozenset(resting)
