"""What the clients of a secure sum and their server have in common, and what public keys are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fedtt.errors import FedttError, WireError
from fedtt.federated.secure.round_keys import KEY_BYTES
from fedtt.federated.secure.sum_sizes import FEWEST, default_threshold

Place = int  # of a client in the round: from 1 on


@dataclass(frozen=True, kw_only=True)
class SumTerms:
    """Of one sum. ``session`` names it, and goes into every key.

    More than two thirds of the ``clients`` are needed: each gives one share of each of them, of its
    mask or of its key. With no more than that, a server that tells each of them otherwise who is
    there collects enough of both to read one client's update.
    """

    session: bytes
    clients: int
    threshold: int

    def __post_init__(self) -> None:
        if not default_threshold(self.clients) <= self.threshold <= self.clients:
            raise FedttError(
                "a threshold that protects nobody, or that cannot be reached",
                got=f"{self.threshold} of {self.clients} clients",
                expected=f"at least {FEWEST} and more than two thirds, at most all",
            )

    def lacks(self, present: Collection[object]) -> str | None:
        """Why so few do not do; None where they are enough."""
        if len(present) >= self.threshold:
            return None
        return (
            f"{len(present)} of {self.clients} clients, and the secure sum takes {self.threshold}"
        )

    def check_enough(self, present: Collection[Place], *, stage: str) -> None:
        """Raise :class:`FedttError` for fewer than the threshold."""
        reason = self.lacks(present)
        if reason is not None:
            raise FedttError("too few clients for a secure sum", where=stage, got=reason)

    def purpose(self, what: bytes, first: Place, second: Place) -> bytes:
        """What a key is for: between these two, in this order."""
        return b"|".join([b"fedtt", what, self.session, b"%d" % first, b"%d" % second])


@dataclass(frozen=True, kw_only=True)
class PublicKeys:
    """What a client shows: for the shares that others send it, and for the masks between them."""

    box: bytes
    mask: bytes

    def __post_init__(self) -> None:
        if {len(self.box), len(self.mask)} != {KEY_BYTES}:
            raise WireError("public keys of another size", expected=f"{KEY_BYTES} bytes each")


def check_public_keys(roster: Mapping[Place, PublicKeys], terms: SumTerms) -> None:
    """Raise unless enough clients have keys, each its own."""
    terms.check_enough(roster, stage="keys")
    if not set(roster) <= set(range(1, terms.clients + 1)):
        raise WireError("keys of nobody in the round", got=sorted(roster)[:5])
    if len({key for keys in roster.values() for key in (keys.box, keys.mask)}) < 2 * len(roster):
        raise WireError("the same key twice")
