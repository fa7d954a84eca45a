"""Clients some of which attack: between what trains and what carries the round.

Whoever trains brings back honest updates. Here those of the attackers are decoded, forged, and
encoded again as the attackers would; nobody else's changes by a bit.
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from fedtt.attacks.forging import Trained
from fedtt.engine.client_work import codec_seed
from fedtt.engine.hostile_clients import Hostile
from fedtt.errors import FedttError
from fedtt.federated.round import CallClients, ClientReply, ClientTask
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.broadcast import trained_names
from fedtt.federated.wire.update import decode_update, encode_update
from fedtt.params import Params
from fedtt.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class AttackedClients:
    """``clients``, of which ``hostile`` ones attack. Each call adds to ``first`` in place: what an
    attacker's first update was.

    Attackers may collude, so all replies of a round are here before the first one goes on.
    """

    clients: CallClients
    hostile: Hostile
    first: MutableMapping[str, Params]

    def __call__(self, tasks: Iterable[ClientTask]) -> list[ClientReply]:
        """One reply a task, in their order."""
        asked: list[ClientTask] = []

        def noting() -> Iterable[ClientTask]:
            for task in tasks:
                asked.append(task)
                yield task

        replies: list[ClientReply] = list(self.clients(noting()))
        hostile = set(self.hostile.clients)
        places = [place for place, task in enumerate(asked) if task.client_id in hostile]
        trained = [self._trained(asked[place], replies[place]) for place in places]
        forged = self.hostile.row.forge(trained, self.hostile.strength)
        for place, update in zip(places, forged, strict=True):
            replies[place] = self._encoded(asked[place], update)
        return replies

    def _trained(self, task: ClientTask, reply: ClientReply) -> Trained:
        if not isinstance(reply, bytes):
            raise FedttError("an engine with simulated attacks brings back payloads")
        names = trained_names(task.payload, structure=task.structure)
        update = decode_update(reply, expected=task.answer(names), codec=task.codec)
        return Trained(
            update=update,
            first=self.first.setdefault(task.client_id, update.delta),
            seed=derive_seed(self.hostile.seed, "attack", task.round_index, task.client_id),
        )

    def _encoded(self, task: ClientTask, update: ClientUpdate) -> bytes:
        seed = codec_seed(self.hostile.seed, round_index=task.round_index, client_id=task.client_id)
        return encode_update(update, codec=task.codec, seed=seed)
