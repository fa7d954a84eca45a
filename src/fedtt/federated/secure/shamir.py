"""A secret in shares, any ``threshold`` of which give it back, and fewer of which tell nothing.

Shamir 1979, "How to share a secret": the secret is a random polynomial's value at zero, a share its
value at another place, all modulo a prime.
"""

import secrets
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

PRIME = 2**256 + 297  # the first above 2^256: every 32 bytes are a secret
SHARE_BYTES = 33

Below = Callable[[int], int]  # a uniform number below that
Polynomial = list[int]  # the lowest coefficient first


def split_secret(
    secret: int, *, threshold: int, places: Collection[int], below: Below = secrets.randbelow
) -> dict[int, int]:
    """A share for each place; places are 1 and more, below the prime."""
    polynomial = [secret, *(below(PRIME) for _ in range(threshold - 1))]
    return {place: value_at(polynomial, place) for place in places}


def join_shares(shares: Mapping[int, int]) -> int:
    """The secret of shares by place, where they are as many as its threshold, or more."""
    return shares_at(shares, [0])[0]


def shares_at(shares: Mapping[int, int], places: Collection[int]) -> dict[int, int]:
    """What shares, as many as the threshold, say of other places; at 0 is the secret."""
    known = tuple(sorted(shares))
    found = {}
    for at in places:
        weights = _weights(known, at)
        found[at] = sum(weights[place] * share for place, share in shares.items()) % PRIME
    return found


def value_at(polynomial: Polynomial, place: int) -> int:
    """By Horner's rule."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % PRIME
    return value


@lru_cache(maxsize=1024)  # the shares of all clients of a round lie at the same places
def _weights(places: tuple[int, ...], at: int) -> dict[int, int]:
    """Lagrange's, ``prod_j (x_j - at) / (x_j - x_i)``, for each of the places ``x_i``."""
    if at in places:
        return {place: int(place == at) for place in places}
    whole = 1
    for place in places:
        whole = whole * (place - at) % PRIME
    return {
        place: whole * _inverse(place - at) * weight % PRIME
        for place, weight in _barycentric(places).items()
    }


@lru_cache(maxsize=8)
def _barycentric(places: tuple[int, ...]) -> dict[int, int]:
    """What weights have in common wherever they are for: all that takes a product a pair."""
    weights = {}
    for place in places:
        below = 1
        for other in places:
            if other != place:
                below = below * (other - place) % PRIME
        weights[place] = pow(below, -1, PRIME)
    return weights


@lru_cache(maxsize=4096)  # differences of places: few, and of both signs
def _inverse(number: int) -> int:
    return pow(number, -1, PRIME)
