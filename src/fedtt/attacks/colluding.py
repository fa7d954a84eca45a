"""Attackers that agree on what they send: "a little is enough" (Baruch et al. 2019, 1902.06156).

They stay so close to the mean that a defense by distance takes them for honest.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedtt.attacks.forging import Trained
from fedtt.federated.types import ClientUpdate


def shift_mean(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """All send ``mean - strength * deviation`` of their own updates, coordinate by coordinate."""
    names = attackers[0].update.delta.keys() if attackers else ()
    delta = {
        name: _shifted(torch.stack([one.update.delta[name] for one in attackers]), strength)
        for name in names
    }
    return [replace(one.update, delta=delta) for one in attackers]


def _shifted(stacked: Tensor, strength: float) -> Tensor:
    values = stacked.double()
    shifted = values.mean(dim=0) - strength * values.std(dim=0, correction=0)
    return shifted.to(stacked.dtype)
