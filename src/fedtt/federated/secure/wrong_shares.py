"""Which shares of many secrets are wrong, at a price of few products a share.

Each share alone against its polynomial would take as many products as the threshold. A sum of
polynomials is one too: where many secrets' shares, each times a random factor, add up to a share of
their polynomials' sum, none is wrong, but for odds of one in 2^128; else half of them are asked.
"""

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from fedtt.federated.secure.shamir import PRIME, shares_at
from fedtt.federated.secure.share_decoding import Recovered, wrong_places

_FACTOR_BITS = 128
SharesOf = Mapping[int, Mapping[int, int]]  # by owner, by place


def wrong_shares(
    shares_of: SharesOf, found: Mapping[int, Recovered], *, among: Collection[int]
) -> dict[int, set[int]]:
    """As :func:`wrong_places`, of each owner whose secret was found."""
    alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for owner, recovered in found.items():
        alike[recovered.sound].append(owner)
    wrong: dict[int, set[int]] = {owner: set() for owner in found}
    for sound, owners in alike.items():
        others = [place for place in among if place not in set(sound)]
        for owner, odd in _doubtful(owners, others, sound=sound, shares_of=shares_of):
            wrong[owner] = wrong_places(shares_of[owner], found[owner], among=odd)
    return wrong


def _doubtful(
    owners: Sequence[int], places: Sequence[int], *, sound: tuple[int, ...], shares_of: SharesOf
) -> Iterator[tuple[int, Sequence[int]]]:
    """Owners, and those of the places where a share of theirs may be wrong."""
    if len(owners) == 1:
        yield owners[0], places
        return
    factors = {owner: secrets.randbits(_FACTOR_BITS) for owner in owners}
    mixed = {
        place: sum(factor * shares_of[owner].get(place, -1) for owner, factor in factors.items())
        % PRIME
        for place in (*sound, *places)
    }
    right = shares_at({place: mixed[place] for place in sound}, places)
    odd = [place for place in places if right[place] != mixed[place]]
    if odd:
        half = len(owners) // 2
        for some in (owners[:half], owners[half:]):
            yield from _doubtful(some, odd, sound=sound, shares_of=shares_of)
