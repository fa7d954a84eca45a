"""Plain Flower: FedAvg, and a client app that loads data and model for every message."""

import json
import os
import time
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

SITES = 3


def train(message: Message, context: Context) -> Message:
    """The same local training as fedtt's, from whatever has to be loaded first."""
    import torch

    torch.set_num_threads(1)
    from fedtt.config import load_config
    from fedtt.engine.build import build_federation
    from fedtt.engine.inprocess import local_clients
    from fedtt.federated.round import ClientTask
    from fedtt.federated.wire.broadcast import Broadcast, encode_broadcast
    from fedtt.federated.wire.update import decode_update
    from fedtt.params import structure_of

    config = load_config(Path(os.environ["PLAIN_JOB"]))
    federation = build_federation(config)
    values = {name: array.contiguous() for name, array in arrays_of(message).items()}
    structure = structure_of(values)
    broadcast = Broadcast(values=values, trained=frozenset(values))
    task = ClientTask(
        round_index=int(str(message.content["config"]["server-round"])) - 1,
        client_id=federation.population[int(str(context.node_config["partition-id"]))],
        payload=encode_broadcast(broadcast, structure=structure),
        structure=structure,
        learning_rate=config.client.learning_rate,
    )
    began = time.perf_counter()
    (reply,) = local_clients(federation, state=federation.initial, seed=config.seed)([task])
    seconds = time.perf_counter() - began
    update = decode_update(reply, expected=structure)
    new = {name: values[name] + delta for name, delta in update.delta.items()}
    metrics = MetricRecord({"num-examples": update.num_examples, "seconds": seconds})
    return Message(RecordDict({"arrays": ArrayRecord(new), "metrics": metrics}), reply_to=message)


def arrays_of(message: Message) -> dict[str, Any]:
    """The global parameters in a message, as torch tensors."""
    return dict(message.content["arrays"].to_torch_state_dict())


def serve(grid: Grid, _context: Context) -> None:
    """FedAvg over all sites, and when every round began and ended."""
    from fedtt.config import load_config
    from fedtt.engine.build import build_federation

    config = load_config(Path(os.environ["PLAIN_JOB"]))
    initial = ArrayRecord(dict(build_federation(config).initial.params))
    times: list[float] = []
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=SITES, min_available_nodes=SITES)
    result = strategy.start(
        grid,
        initial_arrays=initial,
        num_rounds=config.rounds,
        evaluate_fn=lambda _round, _arrays: times.append(time.time()),
    )
    training = [dict(metrics) for metrics in result.train_metrics_clientapp.values()]
    document = {"times": times, "training": training}
    Path(os.environ["PLAIN_RESULT"]).write_text(json.dumps(document), encoding="utf-8")


client = ClientApp()
client.train()(train)
server = ServerApp()
server.main()(serve)
