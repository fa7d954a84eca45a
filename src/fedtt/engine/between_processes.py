"""A run over several processes: each holds model and data, the leader runs the rounds.

A cohort's clients are dealt out in turn, and so are the batches of a measurement. The replies are
the payloads of a single process, so aggregation, records and checkpoints are the leader's as ever.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from fedtt import params as p
from fedtt.engine.build import Federation
from fedtt.engine.evaluation import Judged, judge_share
from fedtt.engine.inprocess import LocalClients
from fedtt.engine.processes import LEADER, Message, Processes
from fedtt.errors import DataError, DivergenceError, FedttError, InterruptedRunError
from fedtt.federated.round import CallClients, ClientTask
from fedtt.federated.types import ServerState
from fedtt.federated.wire.payload import decode, encode
from fedtt.params import Params

# Tasks that are dealt out at once, for every process: enough to fill a forward several times, and
# few enough that their replies, about as large as the broadcasts, take little memory.
TASKS_EACH = 64
BYTES_EACH = 2**27
ROWS = "rows"
NUMBERS = "biuf"  # numpy's kinds of what safetensors can hold
# What a helper's work can raise, by name; anything else ends it.
ERRORS: dict[str, type[FedttError]] = {
    kind.__name__: kind for kind in (FedttError, DivergenceError, DataError, InterruptedRunError)
}
StartClients = Callable[[ServerState], LocalClients]
BeforeBatch = Callable[[str], None] | None


def spread_clients(processes: Processes, local: LocalClients, state: ServerState) -> CallClients:
    """``local``, and what the helpers have like it, between them. ``state`` is the first one."""
    processes.send_all(
        Message(content={"do": "start", "round": state.next_round}, blobs=[encode(state.params)])
    )

    def call(tasks: Iterable[ClientTask]) -> Iterator[bytes]:
        for block in _blocks(tasks, size=processes.size):
            processes.send_all(_as_message(block))
            replies = [local.share(block, processes.turn)]
            replies += [list(_answer(processes, rank).blobs) for rank in range(1, processes.size)]
            for index in range(len(block)):
                yield replies[index % processes.size][index // processes.size]

    return call


def _blocks(tasks: Iterable[ClientTask], *, size: int) -> Iterator[list[ClientTask]]:
    remaining = iter(tasks)
    for first in remaining:
        each = max(1, min(TASKS_EACH, BYTES_EACH // max(1, len(first.payload))))
        yield [first, *islice(remaining, size * each - 1)]


def keep_waiting(processes: Processes) -> None:
    """Tell the helpers that the leader works by itself and will call them later."""
    processes.send_all(Message(content={"do": "wait"}))


def judge_between(
    processes: Processes,
    federation: Federation,
    params: Params,
    *,
    split: str,
    client_id: str | None,
    batch_size: int,
    before_batch: BeforeBatch,
) -> list[Judged]:
    """The shares of every process of a measurement of ``params``, which are in the leader's model.

    Raises like :func:`fedtt.engine.evaluation.judge`.
    """
    processes.send_all(
        Message(
            content={
                "do": "judge",
                "split": split,
                "client": client_id,
                "batch_size": batch_size,
            },
            blobs=[encode(params)],
        )
    )
    own = judge_share(
        federation.model,
        federation.task,
        federation.held(split, client_id),
        batch_size=batch_size,
        turn=processes.turn,
        before_batch=before_batch,
    )
    others = [_as_judged(_answer(processes, rank)) for rank in range(1, processes.size)]
    return [own, *others]


def help_leader(
    processes: Processes,
    federation: Federation,
    *,
    start_clients: StartClients,
    before_batch: BeforeBatch,
) -> None:
    """Do what the leader asks until it says stop.

    Errors of the work go to the leader, who raises them. Raises :class:`FedttError` where the
    leader is gone.
    """
    structure = p.structure_of(federation.initial.params)
    clients: LocalClients | None = None
    while True:
        asked = processes.receive(source=LEADER)
        action = asked.content["do"]
        if action == "stop":
            return
        if action == "wait":
            continue
        if action == "start":
            params, _ = decode(asked.blobs[0], expected=structure)
            state = ServerState(next_round=asked.content["round"], params=params)
            clients = start_clients(state)
            continue
        try:
            if action == "judge":
                params, _ = decode(asked.blobs[0], expected=structure)
                p.write_params(federation.model, params)
                reply = _judge(processes, federation, asked.content, before_batch)
            else:
                if clients is None:
                    raise AssertionError("the leader says start first")
                tasks = _as_tasks(asked, clients)
                reply = Message(content={}, blobs=clients.share(tasks, processes.turn))
        except FedttError as error:
            kind = type(error).__name__
            known = kind if kind in ERRORS else FedttError.__name__
            reply = Message(content={"error": known, "message": str(error)})
        processes.send(reply, to=LEADER)


def stop_helpers(processes: Processes) -> None:
    """Let the helpers end."""
    processes.send_all(Message(content={"do": "stop"}))


def _judge(
    processes: Processes, federation: Federation, asked: Any, before_batch: BeforeBatch
) -> Message:
    judged = judge_share(
        federation.model,
        federation.task,
        federation.held(asked["split"], asked["client"]),
        batch_size=asked["batch_size"],
        turn=processes.turn,
        before_batch=before_batch,
    )
    return _as_reply(judged)


def _as_reply(judged: Judged) -> Message:
    """Numbers as one blob; columns of anything else, such as names of groups, as JSON."""
    numbers, others = {ROWS: judged.rows}, {}
    for key, values in judged.outcomes.items():
        if values.dtype.kind in NUMBERS:
            numbers[key] = np.ascontiguousarray(values)
        else:
            others[key] = values.tolist()
    return Message(content={"columns": others}, blobs=[save(numbers)])


def _as_judged(reply: Message) -> Judged:
    numbers = load(reply.blobs[0])
    columns = reply.content["columns"].items()
    others = {key: np.array(values, dtype=object) for key, values in columns}
    return Judged(rows=numbers.pop(ROWS), outcomes={**numbers, **others})


def _as_message(tasks: list[ClientTask]) -> Message:
    """The tasks, every distinct broadcast once."""
    distinct = dict.fromkeys(task.payload for task in tasks)
    payloads = {payload: index for index, payload in enumerate(distinct)}
    return Message(
        content={
            "do": "train",
            "round": tasks[0].round_index,
            "learning_rate": tasks[0].learning_rate,
            "tasks": [[task.client_id, payloads[task.payload]] for task in tasks],
        },
        blobs=list(payloads),
    )


def _as_tasks(asked: Message, clients: LocalClients) -> list[ClientTask]:
    return [
        clients.task(
            client_id,
            payload=asked.blobs[index],
            round_index=asked.content["round"],
            learning_rate=asked.content["learning_rate"],
        )
        for client_id, index in asked.content["tasks"]
    ]


def _answer(processes: Processes, rank: int) -> Message:
    """A helper's reply. Raises what its work raised."""
    reply = processes.receive(source=rank)
    if "error" in reply.content:
        raise ERRORS.get(reply.content["error"], FedttError)(reply.content["message"])
    return reply
