"""A secure sum with both ends in one process: every client's part and the server's, as they are
between machines, with no line between them.

It protects nobody from whoever runs the process: it shows what a federation would do, cost, and
end with. Its sum is exact, so the keys, which are new in every round, change no bit of the outcome.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fedtt.errors import FedttError
from fedtt.federated.round import CallClients, CheckedReply, ClientReply, ClientTask, FailedReply
from fedtt.federated.secure import sum_messages as wire
from fedtt.federated.secure.ring_encoding import encode_words
from fedtt.federated.secure.secure_round import DISPUTED, Summed, SumRequest
from fedtt.federated.secure.sum_client import Masked, Sharing, advertise, mask, reveal, share
from fedtt.federated.secure.sum_server import Gathering, Opened, begin_gathering, open_sum
from fedtt.federated.secure.sum_terms import Place
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.broadcast import trained_names
from fedtt.federated.wire.update import decode_update


@dataclass(frozen=True, kw_only=True)
class SumHere:
    """``call_clients`` trains clients of this process; their updates go no further than here.

    Those who send no update leave after they have dealt their shares.
    """

    call_clients: CallClients

    def __call__(self, request: SumRequest) -> Summed:
        """The sum of those who answered, as ``CallSum`` says."""
        traffic = _Traffic()
        missing = request.terms.lacks(request.cohort)
        if missing is not None:
            nothing = dict.fromkeys(request.cohort, 0)
            return Summed(total=None, uplink={}, downlink=nothing, missing=missing)
        sharing, gathering = _dealt(request, traffic)
        clients: dict[Place, Masked] = {}
        place_of = {client_id: i for i, client_id in enumerate(request.cohort, start=1)}
        called: list[ClientTask] = []  # and not heard yet
        failed: dict[str, str] = {}

        def present() -> Iterator[ClientTask]:
            for task in request.tasks:
                traffic.down[place_of[task.client_id]] += len(task.payload)
                if task.client_id not in request.absent:
                    called.append(task)
                    yield task

        for reply in self.call_clients(present()):
            task = called.pop(0)
            if reply is None or isinstance(reply, FailedReply):
                if reply is not None:
                    failed[task.client_id] = reply.reason
                continue
            place, update = place_of[task.client_id], _update(reply, task)
            sealed = wire.pack_sealed(gathering.sealed_for(place))
            traffic.down[place] += len(sealed)
            clients[place], words = mask(
                sharing[place],
                wire.unpack_sealed(sealed, clients=request.terms.clients),
                encode_words(
                    update, weight=int(request.weighting(update)), encoding=request.encoding
                ),
            )
            blob = wire.pack_masked(words, request.encoding)
            traffic.up[place] += len(blob)
            gathering = gathering.include(place, wire.unpack_masked(blob, request.encoding))
        if called:
            raise FedttError("an engine brought back too few replies", where="call_clients")
        summed = _opened(request, gathering, clients, traffic)
        return replace(summed, failed={**failed, **summed.failed})


class _Traffic:
    """Bytes by place, to the server and from it."""

    def __init__(self) -> None:
        self.up: Counter[Place] = Counter()
        self.down: Counter[Place] = Counter()


def _dealt(request: SumRequest, traffic: _Traffic) -> tuple[dict[Place, Sharing], Gathering]:
    """Everybody's keys and shares."""
    terms = request.terms
    places = range(1, len(request.cohort) + 1)
    advertised = {place: advertise(place, terms) for place in places}
    blobs = {place: wire.pack_keys(client.public) for place, client in advertised.items()}
    roster = {place: wire.unpack_keys(blob) for place, blob in blobs.items()}
    told = wire.pack_roster(roster)
    sharing, dealt = {}, {}
    for place, client in advertised.items():
        heard = wire.unpack_roster(told, clients=terms.clients)
        sharing[place], own = share(client, heard)
        blob = wire.pack_dealt(own)
        dealt[place] = wire.unpack_dealt(blob, others=set(roster) - {place})
        traffic.up[place] += len(blobs[place]) + len(blob)
        traffic.down[place] += len(told)
    return sharing, begin_gathering(terms, roster, dealt, words=request.encoding.words)


def _opened(
    request: SumRequest, gathering: Gathering, clients: dict[Place, Masked], traffic: _Traffic
) -> Summed:
    """The sum, where enough have stayed."""
    opened = Opened(total=None, missing=request.terms.lacks(gathering.arrived))
    if opened.missing is None:
        gathering = gathering.ask()
        asked = wire.pack_places(gathering.arrived)
        revealed = {}
        for place, client in clients.items():
            survivors = wire.unpack_places(asked, clients=request.terms.clients)
            blob = wire.pack_revealed(reveal(client, survivors)[1])
            revealed[place] = wire.unpack_revealed(blob, dealt=gathering.dealt)
            traffic.up[place] += len(blob)
            traffic.down[place] += len(asked)
        opened = open_sum(gathering, revealed)
    names = dict(enumerate(request.cohort, start=1))
    return Summed(
        total=opened.total,
        uplink={names[place]: traffic.up[place] for place in clients},
        downlink={names[place]: traffic.down[place] for place in names},
        missing=opened.missing,
        left={names[place]: "masked update" for place in names if place not in clients},
        failed={names[place]: reason for place, reason in opened.faults.items()},
        disputed={names[place]: DISPUTED for place in opened.disputed},
    )


def _update(reply: ClientReply, task: ClientTask) -> ClientUpdate:
    """What the client would encode, had it not travelled inside the process."""
    if isinstance(reply, CheckedReply):
        return reply.update
    trained = trained_names(task.payload, structure=task.structure)
    assert isinstance(reply, bytes)  # others are left out before
    return decode_update(reply, expected=task.answer(trained), codec=task.codec)
