"""Mode sizes: the published lists, and balanced modes for every other size."""

import math
from collections.abc import Sequence
from functools import lru_cache

from fedtt.errors import ShapeError

# (in_features, out_features) -> (in_modes, out_modes): the lists of LoRETTA (NAACL 2024), which
# FedTT (arXiv 2410.13097) inherits. 1024 departs from LoRETTA: its list [4, 8, 8, 8, 8, 4] has no
# prefix that multiplies to 1024.
_PUBLISHED: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
    (768, 64): ((8, 8, 12), (8, 8)),
    (1024, 64): ((4, 4, 8, 8), (8, 8)),
    (4096, 64): ((16, 16, 16), (4, 4, 4)),
    (5120, 64): ((5, 8, 8, 16), (8, 8)),
    (8192, 64): ((8, 16, 8, 8), (8, 8)),
    (768, 768): ((12, 8, 8), (8, 8, 12)),
}


@lru_cache(maxsize=1024)
def balanced_modes(size: int) -> tuple[int, ...]:
    """Factor ``size`` into about ``log_8(size)`` modes of the smallest sum, largest first.

    Fewer modes where ``size`` has fewer prime factors; a prime is one mode. Of equal sums, the
    one with the smallest largest mode. ``384 -> (8, 8, 6)``.

    Raises:
        ShapeError: ``size`` below 1.
    """
    if size < 1:
        raise ShapeError("a size to factor into modes must be at least 1", got=size)
    if size == 1:
        return (1,)
    primes = _prime_factors(size)
    divisors = {1}
    for prime in primes:
        divisors |= {prime * divisor for divisor in divisors}
    count = min(max(1, round(math.log2(size) / 3)), len(primes))
    found = _factorizations(size, count, sorted(divisors - {1}), size)
    return min(found, key=lambda modes: (sum(modes), modes))


def published_modes(
    in_features: int, out_features: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """``(in_modes, out_modes)`` of the published list of a pair, or of the reversed pair."""
    found = _PUBLISHED.get((in_features, out_features))
    if found is None and (mirror := _PUBLISHED.get((out_features, in_features))):
        found = (mirror[1][::-1], mirror[0][::-1])
    return found


def format_product(modes: Sequence[int]) -> str:
    """``8 x 8 x 12 = 768``, for error messages."""
    return f"{' x '.join(map(str, modes))} = {math.prod(modes)}"


def _prime_factors(size: int) -> list[int]:
    primes, divisor = [], 2
    while divisor * divisor <= size:
        while size % divisor == 0:
            size //= divisor
            primes.append(divisor)
        divisor += 1
    return [*primes, size] if size > 1 else primes


def _factorizations(
    size: int, count: int, divisors: Sequence[int], largest: int
) -> list[tuple[int, ...]]:
    """Every way to write ``size`` as ``count`` of ``divisors``, none above ``largest``."""
    if count == 1:
        return [(size,)] if 1 < size <= largest else []
    return [
        (factor, *rest)
        for factor in divisors
        if factor <= largest and size % factor == 0 and factor**count >= size
        for rest in _factorizations(size // factor, count - 1, divisors, factor)
    ]
