"""A client's round as plain Flower and NVFLARE carry it: all weights in, all weights out."""

import time
from collections.abc import Callable, Iterable

from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.federated.round import ClientTask
from fedtt.federated.wire.broadcast import Broadcast, encode_broadcast
from fedtt.federated.wire.update import decode_update
from fedtt.params import Params, add, structure_of


def train_plainly(
    federation: Federation,
    call: Callable[[Iterable[ClientTask]], Iterable[bytes]],
    values: Params,
    *,
    config: RunConfig,
    client: int,
    round_index: int,
) -> tuple[Params, int, float]:
    """The weights after the same local training as fedtt's, of how many examples, and its seconds.

    ``client`` is a position in the population, ``call`` what :func:`local_clients` made.
    """
    structure = structure_of(values)
    broadcast = Broadcast(values=values, trained=frozenset(values))
    task = ClientTask(
        round_index=round_index,
        client_id=federation.population[client],
        payload=encode_broadcast(broadcast, structure=structure),
        structure=structure,
        learning_rate=config.client.learning_rate,
    )
    began = time.perf_counter()
    (reply,) = call([task])
    seconds = time.perf_counter() - began
    update = decode_update(reply, expected=structure)
    return add(values, update.delta), update.num_examples, seconds
