"""Who lied, of those who dealt shares and those who revealed them."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

REVEALED = "gave other shares than it was dealt, or dealt others than it committed to"
DEALT = "dealt shares that do not give the secret that it committed to"


@dataclass(frozen=True, kw_only=True)
class Blame:
    """By place, of whom it is known; and of whom it is one of two, nobody can tell which."""

    faults: Mapping[int, str]
    disputed: frozenset[int]


def blame_for(
    pairs: Collection[tuple[int, int]], *, lost: Collection[int], most_liars: int
) -> Blame:
    """``pairs`` are the (holder, owner) whose share is wrong; of ``lost`` owners too many are.

    One of each pair lied. An honest client is so at odds with liars alone: who is with more others
    than there are liars, lied itself. Nobody is known by fewer, or two who lie could have an honest
    client left out. Nor is anybody where those known were more than there are liars: then more lie.
    """
    times = Counter(place for two in {frozenset(pair) for pair in pairs} for place in two)
    faults = {place: REVEALED for place, count in times.items() if count > most_liars}
    faults |= dict.fromkeys(lost if most_liars else (), DEALT)
    if len(faults) > most_liars:
        faults = {}
    unclear = (pair for pair in pairs if not faults.keys() & set(pair))
    return Blame(faults=faults, disputed=frozenset(place for pair in unclear for place in pair))
