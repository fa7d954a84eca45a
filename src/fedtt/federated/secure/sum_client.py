"""A client of a secure sum: keys, shares, the masked update, and what it says of those who left.

Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine learning", with
the keys' exchange authenticated above this, if at all. Every stage is a function from one value to
the next; none can be gone back to.

1. :func:`advertise`: two key pairs, made for this sum.
2. :func:`share`: a seed for a mask of the client's own. The seed and the private key of the masks
   are split among all, and each is sent its shares sealed.
3. :func:`mask`: the update, plus the own mask, plus a mask with every other client, which that one
   subtracts.
4. :func:`reveal`: of those whose update arrived the share of the own mask's seed, of those who left
   the share of the masks' key. Of nobody both: those would be the update.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fedtt.errors import WireError
from fedtt.federated.secure.ring_encoding import Words
from fedtt.federated.secure.round_keys import (
    KEY_BYTES,
    SEALED_EXTRA,
    KeyPair,
    agreed_key,
    clamped,
    commitment_of,
    key_pair,
    mask_of,
    open_once,
    seal_once,
)
from fedtt.federated.secure.shamir import SHARE_BYTES, split_secret
from fedtt.federated.secure.sum_terms import Place, PublicKeys, SumTerms, check_public_keys

NO_SHARE = 2 ** (8 * SHARE_BYTES) - 1  # in the place of one that did not open: above every share
SEALED_BYTES = 2 * SHARE_BYTES + SEALED_EXTRA
Random = Callable[[int], bytes]


@dataclass(frozen=True, kw_only=True)
class Advertised:
    """A client that has shown its keys."""

    place: Place
    terms: SumTerms
    box: KeyPair
    mask: KeyPair

    @property
    def public(self) -> PublicKeys:
        """What it shows."""
        return PublicKeys(box=self.box.public, mask=self.mask.public)


@dataclass(frozen=True, kw_only=True)
class HeldShares:
    """What a client holds for another, or for itself."""

    seed: int
    mask_key: int


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """A client that has dealt out its shares."""

    me: Advertised
    roster: Mapping[Place, PublicKeys]
    seed: bytes = field(repr=False)
    own: HeldShares = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Dealt:
    """What it deals out: sealed shares by whom they are for, and what its seed is known by."""

    sealed: Mapping[Place, bytes]
    commitment: bytes


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A client that has sent its update, with those who sent it shares; ``revealed`` are those
    whose masks it has spoken of.
    """

    me: Advertised
    held: Mapping[Place, HeldShares] = field(repr=False)
    revealed: frozenset[Place] | None = None


def advertise(place: Place, terms: SumTerms, *, random: Random = secrets.token_bytes) -> Advertised:
    """A client with fresh keys."""
    # Clamped, or shares of another private key of the same public one would fit as well.
    box, mask = (key_pair(clamped(random(KEY_BYTES))) for _ in range(2))
    return Advertised(place=place, terms=terms, box=box, mask=mask)


def share(
    me: Advertised,
    roster: Mapping[Place, PublicKeys],
    *,
    random: Random = secrets.token_bytes,
) -> tuple[Sharing, Dealt]:
    """Shares for everybody in the roster.

    Raises :class:`FedttError` for too few, :class:`WireError` for a roster that is not right.
    """
    check_public_keys(roster, me.terms)
    if roster.get(me.place) != me.public:
        raise WireError("a roster with another key than the client's own", where=f"{me.place}")
    seed = random(KEY_BYTES)
    threshold = me.terms.threshold
    of_seed, of_key = (
        split_secret(int.from_bytes(secret, "big"), threshold=threshold, places=roster)
        for secret in (seed, me.mask.private)
    )
    sealed = {
        other: seal_once(
            _box_key(me, keys, sender=me.place, receiver=other),
            _pack(of_seed[other]) + _pack(of_key[other]),
            about=me.terms.session,
        )
        for other, keys in roster.items()
        if other != me.place
    }
    own = HeldShares(seed=of_seed[me.place], mask_key=of_key[me.place])
    sharing = Sharing(me=me, roster=roster, seed=seed, own=own)
    return sharing, Dealt(sealed=sealed, commitment=commitment_of(seed))


def mask(sharing: Sharing, sealed: Mapping[Place, bytes], words: Words) -> tuple[Masked, Words]:
    """The masked update, for a sum with those who sent shares.

    Of one whose shares do not open none are held, and that is said when they are asked for.
    Raises :class:`FedttError` for too few, :class:`WireError` for shares that are none.
    """
    me, terms = sharing.me, sharing.me.terms
    terms.check_enough({*sealed, me.place}, stage="shares")
    held = {me.place: sharing.own}
    masked = words + mask_of(sharing.seed, words.size)
    for other, message in sealed.items():
        keys = sharing.roster.get(other)
        if keys is None or other == me.place:
            raise WireError("shares of nobody in the roster", where=f"place {other}")
        held[other] = _opened(me, keys, message, sender=other)
        masked = add_pair_mask(masked, me.mask.private, keys.mask, own=me.place, other=other,
                               terms=terms)  # fmt: skip
    return Masked(me=me, held=held), masked


def reveal(masked: Masked, survivors: frozenset[Place]) -> tuple[Masked, dict[Place, int]]:
    """A share of everyone: of the seed of those whose update arrived, else of the masks' key.

    Raises :class:`WireError` where that was asked before about others, or says of the client
    itself that it left, and :class:`FedttError` for too few.
    """
    me = masked.me
    if masked.revealed not in (None, survivors):
        raise WireError(
            "both kinds of share of one client are asked for: with them its update can be read",
            where=f"place {min((masked.revealed or survivors) ^ survivors)}",
        )
    if me.place not in survivors or not survivors <= masked.held.keys():
        raise WireError("those whose updates arrived are others than took part")
    me.terms.check_enough(survivors, stage="unmasking")
    shares = {
        place: held.seed if place in survivors else held.mask_key
        for place, held in masked.held.items()
    }
    return replace(masked, revealed=survivors), shares


def add_pair_mask(
    words: Words, private: bytes, public: bytes, *, own: Place, other: Place, terms: SumTerms
) -> Words:
    """``words`` with the mask between the two, as the one at place ``own`` adds it.

    The one at the lower place adds what the other subtracts.
    """
    purpose = terms.purpose(b"mask", min(own, other), max(own, other))
    between = mask_of(agreed_key(private, public, purpose=purpose), words.size)
    return words + between if own < other else words - between


def _box_key(me: Advertised, keys: PublicKeys, *, sender: Place, receiver: Place) -> bytes:
    purpose = me.terms.purpose(b"shares", sender, receiver)
    return agreed_key(me.box.private, keys.box, purpose=purpose)


def _opened(me: Advertised, keys: PublicKeys, message: bytes, *, sender: Place) -> HeldShares:
    if len(message) != SEALED_BYTES:
        raise WireError("shares of another size", where=f"place {sender}", got=len(message))
    key = _box_key(me, keys, sender=sender, receiver=me.place)
    try:
        text = open_once(key, message, about=me.terms.session)
    except WireError:  # whoever lies: without this client's shares of it the sum may still open
        return HeldShares(seed=NO_SHARE, mask_key=NO_SHARE)
    seed, mask_key = (int.from_bytes(t, "big") for t in (text[:SHARE_BYTES], text[SHARE_BYTES:]))
    return HeldShares(seed=seed, mask_key=mask_key)


def _pack(share_of: int) -> bytes:
    return share_of.to_bytes(SHARE_BYTES, "big")
