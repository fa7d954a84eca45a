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
    from plain_round import train_plainly

    from fedtt.config import load_config
    from fedtt.engine.build import build_federation
    from fedtt.engine.inprocess import local_clients

    config = load_config(Path(os.environ["PLAIN_JOB"]))
    federation = build_federation(config)
    new, num_examples, seconds = train_plainly(
        federation,
        local_clients(federation, state=federation.initial, seed=config.seed),
        {name: array.contiguous() for name, array in arrays_of(message).items()},
        config=config,
        client=int(str(context.node_config["partition-id"])),
        round_index=int(str(message.content["config"]["server-round"])) - 1,
    )
    metrics = MetricRecord({"num-examples": num_examples, "seconds": seconds})
    return Message(
        RecordDict({"arrays": ArrayRecord(dict(new)), "metrics": metrics}), reply_to=message
    )


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
