"""What an attack on updates is: what its attackers trained goes in, what they send comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedtt.federated.types import ClientUpdate
from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One attacker in one round: its honest ``update``, the ``first`` that it ever made (this one,
    if it is), and the ``seed`` of what it draws.
    """

    update: ClientUpdate
    first: Params
    seed: int


# Of all attackers that a round calls, with the attack's strength; in their order.
Forge = Callable[[Sequence[Trained], float], Sequence[ClientUpdate]]
