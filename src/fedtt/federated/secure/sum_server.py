"""The server of a secure sum: it passes on what it cannot read, adds up, and takes the masks off.

Stages as in :mod:`fedtt.federated.secure.sum_client`. A client that leaves between two stages is
left out from there on; the sum is of those whose masked update arrived, exact to the bit, or there
is none.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from fedtt.errors import WireError
from fedtt.federated.secure.ring_encoding import Words
from fedtt.federated.secure.round_keys import (
    KEY_BYTES,
    agreed_key,
    clamped,
    commitment_of,
    key_pair,
    mask_of,
)
from fedtt.federated.secure.shamir import PRIME
from fedtt.federated.secure.share_decoding import (
    Effort,
    Recovered,
    first_of,
    liars_borne,
    recover_secret,
    wrong_places,
)
from fedtt.federated.secure.share_disputes import Blame, blame_for
from fedtt.federated.secure.sum_client import SEALED_BYTES, Dealt, add_pair_mask
from fedtt.federated.secure.sum_terms import Place, PublicKeys, SumTerms, check_public_keys
from fedtt.federated.secure.wrong_shares import wrong_shares

NO_SECRET = "too many shares are wrong: the masks do not come off, and there is no sum"


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


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The sum, or why there is none; ``faults`` are the clients that are to blame for what.

    Of those ``disputed`` one dealt or another revealed a wrong share: nobody can tell which.
    """

    total: Words | None
    missing: str | None = None
    faults: Mapping[Place, str] = field(default_factory=dict)
    disputed: frozenset[Place] = frozenset()


def open_sum(gathering: Gathering, revealed: Mapping[Place, Mapping[Place, int]]) -> Opened:
    """The sum of the updates that arrived, of the shares that survivors revealed, by survivor.

    Every secret is checked against what its client committed to, and where shares are wrong, found
    in the others. Raises :class:`FedttError` for too few, and :class:`WireError` for shares of
    others than were asked.
    """
    terms, survivors = gathering.terms, gathering.asked
    if survivors is None or not set(revealed) <= survivors:
        raise WireError("shares of clients that nobody asked")
    terms.check_enough(revealed, stage="unmasking")
    for place, shares in revealed.items():
        if set(shares) != set(gathering.dealt):
            raise WireError("not one share of each client", where=f"place {place}")
    found, blame = _secrets_of(gathering, revealed)
    if len(found) < len(gathering.dealt):
        return Opened(total=None, missing=NO_SECRET, faults=blame.faults, disputed=blame.disputed)
    total = gathering.total
    for place, secret in found.items():
        if place in survivors:
            total = total - mask_of(secret, total.size)
            continue
        for other in sorted(survivors):
            # The survivor added it as seen from its side; the one who left would have undone it.
            total = add_pair_mask(
                total, secret, gathering.roster[other].mask, own=place, other=other, terms=terms
            )
    return Opened(total=total, faults=blame.faults, disputed=blame.disputed)


def _secrets_of(
    gathering: Gathering, revealed: Mapping[Place, Mapping[Place, int]]
) -> tuple[dict[Place, bytes], Blame]:
    """The secret of each client that can be had, and who is to blame for wrong shares."""
    threshold = gathering.terms.threshold
    found: dict[Place, Recovered] = {}
    shares_of = {owner: _shares_of(owner, revealed) for owner in sorted(gathering.dealt)}
    # By of how many clients a holder's share was wrong: a liar cannot have others doubted as much.
    doubted: Counter[Place] = Counter()
    effort, lost = Effort(), set()
    for owner, shares in shares_of.items():
        first = first_of(shares, threshold, doubted)
        recovered = recover_secret(
            shares,
            threshold=threshold,
            fits=partial(_fits, gathering, owner),
            effort=effort,
            doubted=doubted,
        )
        wrong_of: Collection[Place] = revealed.keys() - shares.keys()
        if recovered is not None:
            found[owner] = recovered
            if recovered.sound != first:
                wrong_of = wrong_places(shares, recovered, among=revealed)
        elif len(shares) < threshold or not effort.spent:
            lost.add(owner)
        doubted.update(wrong_of)
    secrets_of = {owner: _bytes_of(recovered.secret) for owner, recovered in found.items()}
    if not doubted and len(found) == len(shares_of):
        return secrets_of, blame_for((), lost=(), most_liars=0)
    borne = liars_borne(len(revealed), threshold=threshold)
    wrong = wrong_shares(shares_of, found, among=revealed)
    pairs = [
        (holder, owner) for owner, some in wrong.items() if len(some) <= borne for holder in some
    ]
    return secrets_of, blame_for(pairs, lost=lost, most_liars=borne)


def _shares_of(owner: Place, revealed: Mapping[Place, Mapping[Place, int]]) -> dict[Place, int]:
    """Without those that are no shares."""
    said = ((holder, shares[owner]) for holder, shares in sorted(revealed.items()))
    return {holder: share for holder, share in said if 0 <= share < PRIME}


def _fits(gathering: Gathering, owner: Place, secret: int) -> bool:
    """Whether that is what the client committed to."""
    if secret >= 2 ** (8 * KEY_BYTES):
        return False
    if gathering.asked is not None and owner in gathering.asked:
        return commitment_of(_bytes_of(secret)) == gathering.dealt[owner].commitment
    private = _bytes_of(secret)
    return private == clamped(private) and key_pair(private).public == gathering.roster[owner].mask


def _bytes_of(secret: int) -> bytes:
    return secret.to_bytes(KEY_BYTES, "big")
