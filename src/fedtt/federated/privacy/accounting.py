"""What rounds cost, by Google's dp-accounting; nothing of it is computed here.

Every round is the same event: a sample of the clients, the sum of their clipped updates, Gaussian
noise. Its composition is that of adaptive mechanisms, since a round's clients begin with what the
rounds before released.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fedtt.federated.privacy.keystream import missing_extra
from fedtt.federated.privacy.samplings import POISSON, SAMPLINGS
from fedtt.quiet_logger import quiet_logger
from fedtt.registry import Registry

if TYPE_CHECKING:
    from dp_accounting import DpEvent

MOST_NOISE = 1000.0  # noise multiplier; more than that drowns any update
WHOLE_ORDERS = (*range(2, 64), 128, 256, 512, 1024)
PRECISION, STEP = 1e-3, 1.0  # of the noise's logarithm, when it is searched
FINE, COARSE = 1e-4, 1e-3  # steps of a discretized privacy loss
# Coarse steps are wrong by much of a small epsilon, and by a little in each of many rounds; beyond
# the last bound, on the RDP accountant's epsilon, PLDs take seconds to be more exact about nothing.
COARSE_ABOVE, COARSE_ROUNDS, FINE_BELOW, PLD_BELOW = 0.5, 10_000, 10.0, 200.0


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """The epsilon of a run's rounds at its ``delta``, before any of them."""

    sampling: str
    accountant: str
    population: int
    expected: int
    delta: float

    def epsilon(self, *, noise_multiplier: float, rounds: int) -> float:
        """Of so many rounds with that noise: a standard deviation over the clipping norm."""
        if not rounds:
            return 0.0
        return _epsilon(self, noise_multiplier, rounds)

    def noise_multiplier(self, *, target_epsilon: float, rounds: int) -> float | None:
        """The least noise, within a thousandth, with which so many rounds stay below that epsilon.

        None where even ``MOST_NOISE`` is too little.
        """
        return _noise_multiplier(self, target_epsilon, rounds)

    def rounds_within(self, *, noise_multiplier: float, target_epsilon: float, most: int) -> int:
        """How many rounds, at most ``most``, stay within that epsilon."""
        return most_within(
            lambda rounds: self.epsilon(noise_multiplier=noise_multiplier, rounds=rounds),
            target_epsilon=target_epsilon,
            most=most,
        )


def most_within(epsilon: Callable[[int], float], *, target_epsilon: float, most: int) -> int:
    """The largest number up to ``most`` whose ``epsilon``, which grows with it, is at most that."""
    if epsilon(most) <= target_epsilon:
        return most
    enough, too_many = 0, most
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if epsilon(middle) <= target_epsilon:
            enough = middle
        else:
            too_many = middle
    return enough


def rdp_epsilon(event: "DpEvent", rounds: int, delta: float, relation: str) -> float:
    """By Renyi differential privacy (Mironov 2017): quick, and a little too large."""
    from dp_accounting import NeighboringRelation, rdp

    accountant = rdp.RdpAccountant(neighboring_relation=NeighboringRelation[relation])
    return float(accountant.compose(event, rounds).get_epsilon(delta))


def pld_epsilon(event: "DpEvent", rounds: int, delta: float, relation: str) -> float:
    """By privacy loss distributions (Koskela et al. 2020, Doroshenko et al. 2022), from above.

    Where RDP finds an epsilon that protects nobody, RDP's; of whole orders, which are quick.
    """
    from dp_accounting import NeighboringRelation, pld, rdp

    neighbors = NeighboringRelation[relation]
    quick = rdp.RdpAccountant(WHOLE_ORDERS, neighbors)
    bound = float(quick.compose(event, rounds).get_epsilon(delta))
    if bound > PLD_BELOW:
        return bound
    is_fine = bound < COARSE_ABOVE or (rounds > COARSE_ROUNDS and bound < FINE_BELOW)
    accountant = pld.PLDAccountant(
        neighbors, value_discretization_interval=FINE if is_fine else COARSE
    )
    return min(bound, float(accountant.compose(event, rounds).get_epsilon(delta)))


@dataclass(frozen=True, kw_only=True)
class Release:
    """So many ``times`` a Poisson sample's sum with noise, of one kind."""

    noise_multiplier: float
    population: int
    expected: int
    times: int


def composed_epsilon(releases: Sequence[Release], *, accountant: str, delta: float) -> float:
    """Of releases of several kinds, all of the same data."""
    kinds = tuple(release for release in releases if release.times)
    if len(kinds) > 1:
        return _composed(kinds, accountant, delta)
    own = [
        Accounting(
            sampling="poisson",
            accountant=accountant,
            population=kind.population,
            expected=kind.expected,
            delta=delta,
        ).epsilon(noise_multiplier=kind.noise_multiplier, rounds=kind.times)
        for kind in kinds
    ]
    return sum(own)


Accountant = Callable[["DpEvent", int, float, str], float]
ACCOUNTANTS: Registry[Accountant] = Registry(
    "accountant",
    {
        "pld": "fedtt.federated.privacy.accounting:pld_epsilon",
        "rdp": "fedtt.federated.privacy.accounting:rdp_epsilon",
    },
)


@cache
def _composed(releases: tuple[Release, ...], accountant: str, delta: float) -> float:
    _check_installed()
    from dp_accounting import ComposedDpEvent, SelfComposedDpEvent

    events = [
        SelfComposedDpEvent(
            POISSON.event(kind.noise_multiplier, kind.population, kind.expected), kind.times
        )
        for kind in releases
    ]
    with quiet_logger("absl", level=logging.ERROR):
        return ACCOUNTANTS[accountant](ComposedDpEvent(events), 1, delta, POISSON.relation)


def _check_installed() -> None:
    if find_spec("dp_accounting") is None:
        raise missing_extra("dp-accounting")


@cache
def _epsilon(accounting: Accounting, noise_multiplier: float, rounds: int) -> float:
    _check_installed()
    sampling = SAMPLINGS[accounting.sampling]
    event = sampling.event(noise_multiplier, accounting.population, accounting.expected)
    account = ACCOUNTANTS[accounting.accountant]
    # Without the RDP accountant's warnings of orders that it leaves out, which is safe.
    with quiet_logger("absl", level=logging.ERROR):
        return account(event, rounds, accounting.delta, sampling.relation)


@cache
def _noise_multiplier(accounting: Accounting, target_epsilon: float, rounds: int) -> float | None:
    """By Brent's method on logarithms, of which epsilon's is nearly linear in the noise's."""
    from scipy.optimize import brentq

    def excess(log_noise: float) -> float:
        spent = accounting.epsilon(noise_multiplier=math.exp(log_noise), rounds=rounds)
        return math.log(max(spent, 1e-12) / target_epsilon)

    low, high, most = 0.0, 0.0, math.log(MOST_NOISE)
    while excess(high) > 0:
        if high == most:
            return None
        low, high = high, min(high + STEP, most)
    while low == high or excess(low) <= 0:
        low -= STEP
    found = float(brentq(excess, low, high, xtol=PRECISION / 4))
    while excess(found) > 0:
        found += PRECISION / 4
    return math.exp(found)
