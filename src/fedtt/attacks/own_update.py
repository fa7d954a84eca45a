"""Attacks that each attacker makes of its own update, without the others."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedtt import params as p
from fedtt.attacks.forging import Trained
from fedtt.federated.privacy.fixed_point import norm_of
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params


def flip_sign(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """``-strength * delta``: away from where the data lead."""
    return scale_up(attackers, -strength)


def scale_up(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """``strength * delta``: to outweigh the others (model replacement, arXiv 1807.00459)."""
    return [_sending(one, p.scale(one.update.delta, strength)) for one in attackers]


def random_direction(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """Gaussian noise ``strength`` times as long as the honest update."""
    forged = []
    for one in attackers:
        noise = _noise(one)
        length = strength * norm_of(one.update.delta) / norm_of(noise)
        forged.append(_sending(one, p.scale(noise, length)))
    return forged


def noise_alone(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """Nothing, or noise of standard deviation ``strength``: who has not trained, and takes part."""
    return [_sending(one, p.scale(_noise(one), strength)) for one in attackers]


def claim_examples(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """The honest update, upside down, and ``strength`` examples said to be behind it."""
    return [
        replace(update, num_examples=int(strength)) for update in flip_sign(attackers, strength=1.0)
    ]


def first_again(attackers: Sequence[Trained], strength: float) -> list[ClientUpdate]:
    """``strength`` times the first update that the attacker made, in every round."""
    return [
        _sending(one, p.scale(p.narrow(one.first, p.structure_of(one.update.delta)), strength))
        for one in attackers
    ]


def _sending(one: Trained, delta: Params) -> ClientUpdate:
    return replace(one.update, delta=delta)


def _noise(one: Trained) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(one.seed)
    return {
        name: torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        for name, tensor in sorted(one.update.delta.items())
    }
