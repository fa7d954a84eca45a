"""Which parameters an adapter has by layer, and which of them trained in which round."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fedtt.federated.parameter_names import tensor_trains
from fedtt.federated.types import ServerState
from fedtt.run_place import STATE

PREFIX = "params/"
DRAWN = ("cycle", "ends+cycle")  # schedules that the number of the round alone decides
_LAYER = re.compile(r"\.(?:layer|layers|h|block|blocks)\.(\d+)\.")
MOST_ROUNDS = 40
MOST_NAMES = 100_000


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Exchanged parameters by name, with how many numbers each has."""

    sizes: dict[str, int]

    def by_layer(self) -> dict[str, int]:
        """``layer 0``, ``layer 1``, ..., and what is in none (the head), in numbers."""
        found: dict[str, int] = {}
        for name, size in self.sizes.items():
            match = _LAYER.search(name)
            layer = f"layer {match[1]}" if match else "outside the layers"
            found[layer] = found.get(layer, 0) + size
        return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def shapes_of(run: Path) -> Shapes:
    """Read from the header of the saved state; none where there is no state yet."""
    try:
        with safe_open(run / STATE, framework="np") as file:
            names = [name for name in file.keys() if name.startswith(PREFIX)]  # noqa: SIM118
            sizes = {
                name.removeprefix(PREFIX): prod(file.get_slice(name).get_shape())
                for name in names[:MOST_NAMES]
            }
    except (OSError, SafetensorError):
        return Shapes(sizes={})
    return Shapes(sizes=sizes)


def cores_by_round(shapes: Shapes, schedule: str, *, rounds: int) -> list[tuple[int, str]]:
    """Round (from 1) and which core of a train it trained, as ``core 2``, of the longest train.

    Nothing for a schedule that looks at more than the number of the round, or without trains.
    """
    from fedtt.federated.schedules import SCHEDULES

    trains = tensor_trains(shapes.sizes)
    if schedule not in DRAWN or not trains:
        return []
    longest = max(trains.values(), key=len)
    import torch

    params = {name: torch.empty(0) for name in longest}
    found = []
    for index in range(min(rounds, MOST_ROUNDS)):
        trained = SCHEDULES[schedule](ServerState(next_round=index, params=params))
        found += [(index + 1, f"core {i}") for i, name in enumerate(longest) if name in trained]
    return found


def _order(layer: str) -> tuple[bool, int]:
    number = layer.removeprefix("layer ")
    return (not number.isdigit(), int(number) if number.isdigit() else 0)
