"""Which cores of a tensor train are trained in a round: FedTT+ (arXiv 2410.13097).

Whatever is no tensor-train core (heads, biases) trains every round.

A tensor train is linear in each of its cores: where one core of a layer trains in a round, the
mean of the clients' cores is exactly the core of the mean of their matrices. A new adapter's last
``up`` core is zero, and until it has moved no other core has a gradient: every cycle starts there
and runs backwards, so that no round is dead.
"""

from collections.abc import Callable, Iterable, Sequence

from fedtt.federated.parameter_names import tensor_trains
from fedtt.federated.types import ServerState


def cycle(state: ServerState) -> frozenset[str]:
    """One core a layer, from the last to the first and again: the mean is exact."""
    return _train(state, lambda cores: (cores[len(cores) - 1 - state.next_round % len(cores)],))


def ends_and_cycle(state: ServerState) -> frozenset[str]:
    """The first and the last core of a layer, and one of the inner ones in turn."""

    def chosen(cores: Sequence[str]) -> tuple[str, ...]:
        inner = cores[1:-1]
        turn = inner[len(inner) - 1 - state.next_round % len(inner)] if inner else cores[0]
        return (cores[0], turn, cores[-1])

    return _train(state, chosen)


def adaptive(state: ServerState) -> frozenset[str]:
    """One core a layer: the one with the most to gain by what the last updates showed.

    A core's gain is the root mean square of its last aggregated update. Local AdamW moves every
    coordinate about equally far, so what survives the mean is the larger the longer the gradient
    kept its direction and the better the clients agreed on it. The gain is multiplied by the
    number of rounds since the core trained, so none is forgotten and equal gains give a cycle;
    a core that has never trained comes first, the last one before the others.
    """

    def chosen(cores: Sequence[str]) -> tuple[str, ...]:
        untrained = [core for core in cores if core not in state.changed_at]
        if untrained:
            return (untrained[-1],)
        return (max(cores, key=lambda core: _gain(state, core)),)

    return _train(state, chosen)


def _train(state: ServerState, chosen: Callable[[Sequence[str]], Iterable[str]]) -> frozenset[str]:
    trains = tensor_trains(state.params)
    cores = {name for train in trains.values() for name in train}
    kept = {name for train in trains.values() for name in chosen(train)}
    return frozenset(name for name in state.params if name in kept or name not in cores)


def _gain(state: ServerState, core: str) -> tuple[float, int]:
    age = state.next_round - state.changed_at[core]
    return (state.progress.get(core, 0.0) * age, age)
