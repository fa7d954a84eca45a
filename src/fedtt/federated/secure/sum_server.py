"""The server of a secure sum: it passes on what it cannot read, adds up, and takes the masks off.

Stages as in :mod:`fedtt.federated.secure.sum_client`. A client that leaves between two stages is
left out from there on; the sum is of those whose masked update arrived, exact to the bit, or there
is none.
"""

import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fedtt.errors import WireError
from fedtt.federated.secure.ring_encoding import Words
from fedtt.federated.secure.round_keys import (
    KEY_BYTES,
    agreed_key,
    commitment_of,
    key_pair,
    mask_of,
)
from fedtt.federated.secure.shamir import PRIME, join_shares
from fedtt.federated.secure.sum_client import SEALED_BYTES, Dealt, add_pair_mask
from fedtt.federated.secure.sum_terms import Place, PublicKeys, SumTerms, check_public_keys


def unsound_keys(shown: Mapping[Place, PublicKeys]) -> dict[Place, WireError]:
    """Whose keys no other client would take, and why: one such set would end the sum for all.

    Of a key that two have shown neither is right: nobody knows another's before all have theirs.
    """
    times = Counter(key for keys in shown.values() for key in (keys.box, keys.mask))
    trial, found = secrets.token_bytes(KEY_BYTES), {}
    for place, keys in shown.items():
        try:
            for key in (keys.box, keys.mask):
                agreed_key(trial, key, purpose=b"trial")
        except WireError as error:
            found[place] = error
        if max(times[keys.box], times[keys.mask]) > 1:
            found[place] = WireError("the same key twice", where=f"place {place}")
    return found


def check_dealt(dealt: Dealt, *, place: Place, roster: Mapping[Place, PublicKeys]) -> None:
    """Raise :class:`WireError` unless a client dealt a share to everybody else."""
    sizes = {len(sealed) for sealed in dealt.sealed.values()}
    if set(dealt.sealed) != set(roster) - {place} or sizes != {SEALED_BYTES}:
        raise WireError("not one sealed share for each other client", where=f"place {place}")
    if len(dealt.commitment) != KEY_BYTES:
        raise WireError("a commitment of another size", where=f"place {place}")


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """Those who dealt out shares, and the sum of what came of them since; of one round.

    ``asked`` are the survivors, once anybody was asked to reveal anything.
    """

    terms: SumTerms
    roster: Mapping[Place, PublicKeys]
    dealt: Mapping[Place, Dealt]
    total: Words
    arrived: frozenset[Place] = frozenset()
    asked: frozenset[Place] | None = None

    def sealed_for(self, place: Place) -> dict[Place, bytes]:
        """What the others dealt to that client."""
        return {
            sender: dealt.sealed[place] for sender, dealt in self.dealt.items() if sender != place
        }

    def include(self, place: Place, masked: Words) -> "Gathering":
        """With one more masked update. Raises :class:`WireError` for one that does not belong."""
        if place not in self.dealt or place in self.arrived or self.asked is not None:
            raise WireError("a masked update of a client that is to send none", where=f"{place}")
        if masked.shape != self.total.shape:
            raise WireError("a masked update of another length", got=masked.shape)
        return replace(self, total=self.total + masked, arrived=self.arrived | {place})

    def ask(self) -> "Gathering":
        """With what the survivors are asked about: once, and from then on nothing else.

        Raises :class:`FedttError` for too few.
        """
        self.terms.check_enough(self.arrived, stage="masked updates")
        return replace(self, asked=self.arrived)


def begin_gathering(
    terms: SumTerms,
    roster: Mapping[Place, PublicKeys],
    dealt: Mapping[Place, Dealt],
    *,
    words: int,
) -> Gathering:
    """Of those who dealt; each sends so many words.

    Raises :class:`FedttError` for too few, and for what is not right.
    """
    check_public_keys(roster, terms)
    terms.check_enough(dealt, stage="shares")
    for place, own in dealt.items():
        check_dealt(own, place=place, roster=roster)
    total = np.zeros(words, dtype=np.uint32)
    return Gathering(terms=terms, roster=roster, dealt=dealt, total=total)


def open_sum(gathering: Gathering, revealed: Mapping[Place, Mapping[Place, int]]) -> Words:
    """The sum of the updates that arrived, of the shares that survivors revealed, by survivor.

    Raises :class:`FedttError` for too few, and :class:`WireError` where the shares do not give the
    secrets that the clients committed to: the sum would be no sum.
    """
    terms, survivors = gathering.terms, gathering.asked
    if survivors is None or not set(revealed) <= survivors:
        raise WireError("shares of clients that nobody asked")
    terms.check_enough(revealed, stage="unmasking")
    known = dict(sorted(revealed.items())[: terms.threshold])
    for place, shares in known.items():
        if set(shares) != set(gathering.dealt):
            raise WireError("not one share of each client", where=f"place {place}")
    total = gathering.total
    for place in sorted(gathering.dealt):
        secret = _secret_of(place, known)
        if place in survivors:
            if commitment_of(secret) != gathering.dealt[place].commitment:
                raise _wrong(place, "the seed of its mask")
            total = total - mask_of(secret, total.size)
            continue
        public = gathering.roster[place].mask
        if key_pair(secret).public != public:
            raise _wrong(place, "the key of its masks")
        for other in sorted(survivors):
            # The survivor added it as seen from its side; the one who left would have undone it.
            total = add_pair_mask(
                total, secret, gathering.roster[other].mask, own=place, other=other, terms=terms
            )
    return total


def _secret_of(place: Place, revealed: Mapping[Place, Mapping[Place, int]]) -> bytes:
    shares = {holder: said[place] for holder, said in revealed.items()}
    if any(not 0 <= value < PRIME for value in shares.values()):
        raise _wrong(place, "a share")
    secret = join_shares(shares)
    if secret >= 2 ** (8 * KEY_BYTES):
        raise _wrong(place, "a secret")
    return secret.to_bytes(KEY_BYTES, "big")


def _wrong(place: Place, what: str) -> WireError:
    return WireError(
        "the shares do not give the secret that was shared: a client lied, and there is no sum",
        where=f"of the client at place {place}, {what}",
    )
