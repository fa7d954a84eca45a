"""A site's part in the secure sums of a run: what it holds of one between two messages.

All of it is in memory: a site that starts afresh has left the round. A sum goes through its stages
once, all of them of one round, and of a round in a run a site takes part in sums of the same
updates alone: of two others, the difference would be an update. So which round was the last, of
whom, and what the site's own clients trained on, is kept, and written down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from fedtt.errors import SitesError
from fedtt.federated.secure import sum_messages as wire
from fedtt.federated.secure.ring_encoding import encode_words
from fedtt.federated.secure.secure_round import SecureSum
from fedtt.federated.secure.sum_client import (
    Advertised,
    Masked,
    Sharing,
    advertise,
    mask,
    reveal,
    share,
)
from fedtt.federated.secure.sum_terms import SumTerms
from fedtt.federated.types import ClientUpdate
from fedtt.params import structure_of
from fedtt.sites.message_schema import SumStage
from fedtt.sites.unmasked_rounds import UnmaskedRounds

Stage = Advertised | Sharing | Masked


@dataclass(frozen=True, kw_only=True)
class OpenSum:
    """A sum that has begun, and how far each of the site's clients is in it."""

    round_index: int
    session: bytes
    clients: Mapping[str, Stage] = field(repr=False)


class SiteSums:
    """The sums of one server's process; the methods change it, and ``unmasked``, which outlives it.

    ``clients`` is how many a round has: the server does not say so, nor how many are enough.
    """

    def __init__(
        self, secure: SecureSum, *, clients: int, run_id: str, unmasked: UnmaskedRounds
    ) -> None:
        self._secure, self._clients = secure, clients
        self._run_id, self._unmasked = run_id, unmasked
        self._open: OpenSum | None = None

    def answer(self, asked: SumStage, blobs: Sequence[bytes]) -> list[bytes]:
        """One blob for each member."""
        match asked.stage:
            case "keys":
                return self._begin(asked)
            case "shares":
                return self._share(asked, blobs)
            case "reveal":
                return self._reveal(asked, blobs)

    def masked(
        self,
        token: str,
        client_id: str,
        update: ClientUpdate,
        *,
        round_index: int,
        weight: int,
        sealed: bytes,
    ) -> bytes:
        """The update as it travels."""
        found = self._of(token, round_index)
        client = found.clients.get(client_id)
        if not isinstance(client, Sharing):
            raise _out_of_turn("masked update")
        encoding = self._secure.encoding(structure_of(update.delta), clients=self._clients)
        words = encode_words(update, weight=weight, encoding=encoding)
        after, masked = mask(client, wire.unpack_sealed(sealed, clients=self._clients), words)
        self._open = replace(found, clients={**found.clients, client_id: after})
        return wire.pack_masked(masked, encoding)

    def check_turn(self, token: str, client_ids: Sequence[str], *, round_index: int) -> None:
        """Before training: raise :class:`SitesError` unless these clients have dealt shares."""
        found = self._of(token, round_index)
        if not all(isinstance(found.clients.get(c), Sharing) for c in client_ids):
            raise _out_of_turn("masked update")

    def train_on(self, token: str, client_id: str, asked: str, *, round_index: int) -> None:
        """Write down what a client trains on: all that its update depends on, in a text.

        Raises :class:`SitesError` where it was something else in a sum of the round before. It is
        the site that is asked something else that can tell: to the others the sum is the same.
        """
        client = self._of(token, round_index).clients.get(client_id)
        if not isinstance(client, Sharing):
            raise _out_of_turn("masked update")
        digest = sha256(f"place {client.me.place}, {asked}".encode()).hexdigest()
        self._unmasked.train(self._run_id, round_index, {client_id: digest})

    def _begin(self, asked: SumStage) -> list[bytes]:
        self._unmasked.check_round(self._run_id, asked.round)
        session = bytes.fromhex(asked.sum)
        terms = SumTerms(
            session=session,
            clients=self._clients,
            threshold=self._secure.threshold_of(self._clients),
        )
        clients = {member.client: advertise(member.place, terms) for member in asked.members}
        self._open = OpenSum(round_index=asked.round, session=session, clients=clients)
        return [wire.pack_keys(clients[member.client].public) for member in asked.members]

    def _share(self, asked: SumStage, blobs: Sequence[bytes]) -> list[bytes]:
        found, (told,) = self._of(asked.sum, asked.round), blobs
        roster = wire.unpack_roster(told, clients=self._clients)
        after, said = {}, []
        for member in asked.members:
            client = found.clients.get(member.client)
            if not isinstance(client, Advertised):
                raise _out_of_turn("shares")
            after[member.client], dealt = share(client, roster)
            said.append(wire.pack_dealt(dealt))
        self._open = replace(found, clients=after)
        return said

    def _reveal(self, asked: SumStage, blobs: Sequence[bytes]) -> list[bytes]:
        found, (told,) = self._of(asked.sum, asked.round), blobs
        survivors = wire.unpack_places(told, clients=self._clients)
        after, said = {}, []
        for member in asked.members:
            client = found.clients.get(member.client)
            if not isinstance(client, Masked):
                raise _out_of_turn("unmasking")
            after[member.client], shares = reveal(client, survivors)
            said.append(wire.pack_revealed(shares))
        # Again, for a server that lost the sum, of the same alone: with fresh keys the same sum.
        self._unmasked.unmask(self._run_id, found.round_index, survivors)
        self._open = replace(found, clients={**found.clients, **after})
        return said

    def _of(self, token: str, round_index: int) -> OpenSum:
        if self._open is None or self._open.session.hex() != token:
            raise SitesError("a sum that this site has not begun, or has left", got=token)
        if self._open.round_index != round_index:
            raise SitesError(
                "a stage of a secure sum that is of another round",
                got=f"round {round_index}",
                expected=f"round {self._open.round_index}",
            )
        return self._open


def _out_of_turn(what: str) -> SitesError:
    return SitesError("a stage of a secure sum out of its turn", got=what)
