"""How a round's clients are drawn under differential privacy; each way has accounting of its own.

Balle, Barthe and Gaboardi 2018 (arXiv 1807.01647): what sampling hides depends on how it is done,
and on what neighbors are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedtt.registry import Registry

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from fedtt.federated.privacy.keystream import Stream


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """``draw`` gives ascending places among a population, ``expected`` of them on average.

    ``neighbors`` says how the data sets differ that nobody can tell apart, ``relation`` likewise
    in dp-accounting, and ``event`` a round in its terms, by the standard deviation of the noise
    over the clipping norm, the population and ``expected``. ``accountants`` are those that know
    the event, the best first.
    """

    draw: Callable[["Stream", int, int], list[int]]
    neighbors: str
    relation: str
    event: Callable[[float, int, int], "DpEvent"]
    accountants: tuple[str, ...]


def _poisson(stream: "Stream", population: int, expected: int) -> list[int]:
    """Each client by itself, with probability ``expected / population`` to 64 bits."""
    if expected == population:
        return list(range(population))
    import numpy as np  # not at the top: who only reads a configuration waits for nothing

    below = np.uint64((expected << 64) // population)
    return [int(place) for place in np.flatnonzero(stream.words(population) < below)]


def _fixed(stream: "Stream", population: int, expected: int) -> list[int]:
    """Those with the smallest of as many random words."""
    import numpy as np

    order = np.argsort(stream.words(population), kind="stable")
    return sorted(int(place) for place in order[:expected])


def _poisson_event(noise_multiplier: float, population: int, expected: int) -> "DpEvent":
    import dp_accounting

    gaussian = dp_accounting.GaussianDpEvent(noise_multiplier)
    if expected == population:
        return gaussian
    return dp_accounting.PoissonSampledDpEvent(expected / population, gaussian)


def _fixed_event(noise_multiplier: float, population: int, expected: int) -> "DpEvent":
    """To replace a client by another moves the sum by up to two clipping norms.

    The accountant takes the noise over the sum's sensitivity here, and not over a client's norm.
    """
    import dp_accounting

    gaussian = dp_accounting.GaussianDpEvent(noise_multiplier / 2)
    return dp_accounting.SampledWithoutReplacementDpEvent(population, expected, gaussian)


POISSON = Sampling(
    draw=_poisson,
    neighbors="one client more or less",
    relation="ADD_OR_REMOVE_ONE",
    event=_poisson_event,
    accountants=("pld", "rdp"),
)
FIXED = Sampling(
    draw=_fixed,
    neighbors="one client replaced by another",
    relation="REPLACE_ONE",
    event=_fixed_event,
    accountants=("rdp",),
)
SAMPLINGS: Registry[Sampling] = Registry("sampling", {"poisson": POISSON, "fixed": FIXED})
