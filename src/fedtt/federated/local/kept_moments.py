"""AdamW's state of one client, taken out of the optimizer after a round and put back in the next.

By parameter the two moments and the number of steps, under ``part/name``. A parameter that has no
entry starts afresh, as AdamW does: with zeros.
"""

from collections.abc import Mapping

from torch import Tensor

from fedtt.federated.local.step import Optimizer
from fedtt.params import Structure, TensorSpec

STEP = "step"
MOMENTS = ("exp_avg", "exp_avg_sq")


def moments_structure(structure: Structure) -> dict[str, TensorSpec]:
    """What is kept of parameters of that structure."""
    steps = {f"{STEP}/{name}": TensorSpec(shape=(), dtype=s.dtype) for name, s in structure.items()}
    return {**steps, **{f"{part}/{name}": s for part in MOMENTS for name, s in structure.items()}}


def put_back(
    optimizer: Optimizer, weights: Mapping[str, Tensor], kept: Mapping[str, Tensor]
) -> None:
    """Make ``optimizer`` of ``weights`` go on from ``kept``. Changes the optimizer."""
    for name, weight in weights.items():
        if f"{STEP}/{name}" in kept:
            optimizer.state[weight] = {
                part: kept[f"{part}/{name}"].to(weight.device, copy=True)
                for part in (STEP, *MOMENTS)
            }


def taken_out(optimizer: Optimizer, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``optimizer`` knows of ``weights``, on the CPU; nothing of one that never moved."""
    return {
        f"{part}/{name}": value.detach().to("cpu", copy=True)
        for name, weight in weights.items()
        for part, value in optimizer.state.get(weight, {}).items()
    }
