"""Clients that remember what their codec lost: between what trains and what carries the round.

Whoever trains (this process alone, several, a site) brings back plain updates; here each gets what
its client still owes, is encoded, and leaves the rest for the client's next update.
"""

from collections import deque
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, replace

from fedtt import params as p
from fedtt.engine.client_work import codec_seed
from fedtt.errors import FedttError
from fedtt.federated.round import CallClients, ClientTask, FailedReply
from fedtt.federated.wire.broadcast import trained_names
from fedtt.federated.wire.plain import PLAIN
from fedtt.federated.wire.residuals import residual_after, with_residual
from fedtt.federated.wire.update import decode_update, encode_update
from fedtt.params import Params

Residuals = MutableMapping[
    str, Params
]  # client -> what is owed; a name that is missing owes nothing


@dataclass(frozen=True, kw_only=True)
class RememberingClients:
    """``clients``, with error feedback. Each call changes ``residuals`` in place.

    ``seed`` is the run's.
    """

    clients: CallClients
    residuals: Residuals
    seed: int

    def __call__(self, tasks: Iterable[ClientTask]) -> Iterator[bytes | FailedReply]:
        """One reply a task, in their order, in the task's codec."""
        asked: deque[ClientTask] = deque()

        def plain() -> Iterator[ClientTask]:
            for task in tasks:
                asked.append(task)
                yield replace(task, codec=PLAIN)

        for reply in self.clients(plain()):
            task = asked.popleft()
            match reply:
                case bytes():
                    yield self._encoded(task, reply)
                case FailedReply():
                    yield reply
                case _:
                    raise FedttError("an engine with error feedback brings back payloads")

    def _encoded(self, task: ClientTask, reply: bytes) -> bytes:
        trained = trained_names(task.payload, structure=task.structure)
        expected = task.answer(trained)
        update = decode_update(reply, expected=expected)
        owed = self.residuals.get(task.client_id, {})
        owed = p.narrow(owed, {name: task.structure[name] for name in owed})
        sent = with_residual(update.delta, owed)
        seed = codec_seed(self.seed, round_index=task.round_index, client_id=task.client_id)
        payload = encode_update(replace(update, delta=sent), codec=task.codec, seed=seed)
        decoded = decode_update(payload, expected=expected, codec=task.codec).delta
        self.residuals[task.client_id] = residual_after(owed, sent=sent, decoded=decoded)
        return payload
