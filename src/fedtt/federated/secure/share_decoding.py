"""A secret of shares some of which are wrong, where something tells which secret is the right one.

Shares by place are a Reed-Solomon code word: Gao 2003, "A new algorithm for decoding Reed-Solomon
codes", finds the polynomial through all but half of the shares above the threshold. Where more are
wrong, whoever might have lied is left out, one by one, then two by two, within a bound.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice
from math import comb
from types import MappingProxyType

from fedtt.federated.secure.shamir import PRIME, Polynomial, join_shares, shares_at, value_at

MOST_TRIES = 1000
DECODING = 5  # products, for each pair of shares
MOST_PRODUCTS = 4_000_000  # of whole numbers, of all tries together: some seconds
MOST_PRODUCTS_A_ROUND = 100_000_000  # about a minute


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A secret, and the places of shares, as many as its threshold, that give it."""

    secret: int = field(repr=False)
    sound: tuple[int, ...]


@dataclass
class Effort:
    """How many products the searches of a round may still take; ``take`` changes it."""

    left: int = field(default_factory=lambda: MOST_PRODUCTS_A_ROUND)

    @property
    def spent(self) -> bool:
        """Whether a search was given up for it: what that one missed may be there."""
        return self.left < 0

    def take(self, products: int) -> bool:
        """Whether there were as many left; if not, there are none from then on."""
        self.left = -1 if products > self.left else self.left - products
        return not self.spent


def recover_secret(
    shares: Mapping[int, int],
    *,
    threshold: int,
    fits: Callable[[int], bool],
    effort: Effort,
    doubted: Mapping[int, int] = MappingProxyType({}),
) -> Recovered | None:
    """The secret that ``fits``, of any shares that give it; None where none was found.

    First of the shares at those places that are ``doubted`` least: only other ones take effort.
    """
    for sound in _candidates(shares, first_of(shares, threshold, doubted), threshold, effort):
        secret = join_shares({place: shares[place] for place in sound})
        if fits(secret):
            return Recovered(secret=secret, sound=sound)
    return None


def first_of(
    shares: Mapping[int, int], threshold: int, doubted: Mapping[int, int]
) -> tuple[int, ...]:
    """As many places as the threshold, those first that are doubted least."""
    trusted = sorted(shares, key=lambda place: (doubted.get(place, 0), place))
    return tuple(sorted(trusted[:threshold]))


def wrong_places(
    shares: Mapping[int, int], recovered: Recovered, *, among: Collection[int]
) -> set[int]:
    """Those ``among`` the places whose share is not of the polynomial.

    Who lies together can have the polynomial of a right secret go by honest shares: what is said
    here holds where it is of no more than :func:`liars_borne` places, and no more lie.
    """
    known = {place: shares[place] for place in recovered.sound}
    right = shares_at(known, [place for place in among if place not in known])
    return {place for place, share in right.items() if shares.get(place) != share}


def liars_borne(holders: int, *, threshold: int) -> int:
    """How many wrong shares, of so many, are always found, and known for wrong.

    Two polynomials of one secret, each through all but so many shares, agree in ``threshold``
    places, zero among them, and so are one.
    """
    most = (holders - threshold + 1) // 2
    searched = sum(comb(holders, count) for count in range(1, most + 1))
    return most if searched <= _tries(threshold) else (holders - threshold) // 2


def decode_shares(shares: Mapping[int, int], *, threshold: int) -> Polynomial | None:
    """The polynomial, of fewer coefficients than the threshold, or as many, that all but
    ``(len(shares) - threshold) // 2`` shares are of; None where there is none.
    """
    vanishing = _vanishing(list(shares))
    older, newer = vanishing, _through(shares, vanishing)
    before: Polynomial = []
    after: Polynomial = [1]
    while 2 * (len(newer) - 1) >= len(shares) + threshold:
        quotient, rest = _divided(older, newer)
        older, newer = newer, rest
        before, after = after, _minus(before, _times(quotient, after))
    found, rest = _divided(newer, after)
    return found if not rest and len(found) <= threshold else None


def _candidates(
    shares: Mapping[int, int], first: tuple[int, ...], threshold: int, effort: Effort
) -> Iterator[tuple[int, ...]]:
    places = sorted(shares)
    if len(places) < threshold:
        return
    yield first
    if not effort.take(DECODING * len(places) ** 2):
        return
    decoded = decode_shares(shares, threshold=threshold)
    if decoded is not None:
        agreeing = [place for place in places if value_at(decoded, place) == shares[place]]
        yield tuple(agreeing[:threshold])
    left_out = (
        set(some)
        for count in range(1, len(places) - threshold + 1)
        for some in combinations(places, count)
    )
    for some in islice(left_out, _tries(threshold)):
        if not effort.take(threshold**2):
            return
        yield tuple([place for place in places if place not in some][:threshold])


def _tries(threshold: int) -> int:
    return min(MOST_TRIES, MOST_PRODUCTS // threshold**2)


def _vanishing(places: list[int]) -> Polynomial:
    """The product of ``x - place``."""
    product = [1]
    for place in places:
        product = _times(product, [-place % PRIME, 1])
    return product


def _through(shares: Mapping[int, int], vanishing: Polynomial) -> Polynomial:
    """Lagrange's interpolation, of fewer coefficients than ``vanishing`` of the places."""
    total = [0] * len(shares)
    for place, share in shares.items():
        others, _ = _divided(vanishing, [-place % PRIME, 1])
        factor = share * pow(value_at(others, place), -1, PRIME)
        total = [(old + factor * own) % PRIME for old, own in zip(total, others, strict=True)]
    return _trimmed(total)


def _times(one: Polynomial, two: Polynomial) -> Polynomial:
    product = [0] * max(0, len(one) + len(two) - 1)
    for i, left in enumerate(one):
        for j, right in enumerate(two):
            product[i + j] += left * right
    return _trimmed([coefficient % PRIME for coefficient in product])


def _minus(one: Polynomial, two: Polynomial) -> Polynomial:
    size = max(len(one), len(two))
    padded = (p + [0] * (size - len(p)) for p in (one, two))
    return _trimmed([(a - b) % PRIME for a, b in zip(*padded, strict=True)])


def _divided(one: Polynomial, two: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Quotient and rest."""
    rest, quotient = list(one), [0] * max(0, len(one) - len(two) + 1)
    inverse = pow(two[-1], -1, PRIME)
    for shift in reversed(range(len(quotient))):
        factor = rest[shift + len(two) - 1] * inverse % PRIME
        quotient[shift] = factor
        for i, coefficient in enumerate(two):
            rest[shift + i] = (rest[shift + i] - factor * coefficient) % PRIME
    return _trimmed(quotient), _trimmed(rest)


def _trimmed(polynomial: Polynomial) -> Polynomial:
    while polynomial and polynomial[-1] == 0:
        polynomial = polynomial[:-1]
    return polynomial
