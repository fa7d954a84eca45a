"""``fedtt cost``: what methods would send and hold, side by side, from shapes alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import console, print_json, print_line
from fedtt.config import WireConfig, parse_methods
from fedtt.errors import ConfigError
from fedtt.federated.wire.codec import CODECS
from fedtt.model_place import check_model_place

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CostQuestion:
    """Which methods, with which model, in which run; the defaults are those of the options."""

    model: str
    methods: Sequence[str] = ("fedtt", "lora")
    overrides: Sequence[str] = ()
    codec: str = "plain"
    downlink: str = "plain"
    task: str | None = None
    num_labels: int = 2
    clients: int = 4
    rounds: int = 10
    batch_size: int = 16
    max_length: int | None = None
    dtype: str = "float32"


def cost_command(asked: CostQuestion, *, as_json: bool) -> None:
    """Print parameters, bytes of a round and of a run, and a client's memory, for every method."""
    document = cost_document(asked)
    if as_json:
        print_json(document)
    else:
        _print(document)


def cost_document(asked: CostQuestion) -> Row:
    """What ``--json`` prints. Raises :class:`ConfigError` for what no method or model is called."""
    task, dtype = asked.task, asked.dtype
    sections = parse_methods(asked.methods, overrides=asked.overrides)
    wire = _wire(asked)
    check_model_place(asked.model)
    from fedtt.engine.build_method import build_method
    from fedtt.engine.run_cost import DTYPES, LocalStep, count_base, count_cost, default_length
    from fedtt.models import PEFT_TASK_TYPES, guess_task, load_model_config

    for option, value, known in (("--task", task, PEFT_TASK_TYPES), ("--dtype", dtype, DTYPES)):
        if value is not None and value not in known:
            raise ConfigError(
                f"unknown {option[2:]}", where=option, got=value, expected=", ".join(known)
            )
    config = load_model_config(asked.model)
    task = task or guess_task(config)
    if task == "classification":
        config = load_model_config(asked.model, num_labels=asked.num_labels)
    built = {
        name: build_method(section, task=task, wire=wire) for name, section in sections.items()
    }
    length = asked.max_length or default_length(config, built.values())
    step = LocalStep(batch_size=asked.batch_size, length=length, dtype=DTYPES[dtype])
    base = count_base(config, task=task, dtype=step.dtype)
    rows = {
        name: _row(
            count_cost(
                config, method, task=task, clients=asked.clients, rounds=asked.rounds, step=step
            )
        )
        for name, method in built.items()
    }
    return {
        "model": asked.model,
        "task": task,
        "codec": wire.codec,
        "downlink": wire.downlink,
        "base_model": {"parameters": base.parameters, "bytes": base.bytes, "dtype": dtype},
        "clients": asked.clients,
        "rounds": asked.rounds,
        "batch_size": asked.batch_size,
        "max_length": length,
        "methods": rows,
    }


def _wire(asked: CostQuestion) -> WireConfig:
    """As a configuration that names those codecs and nothing else."""
    for option, codec in (("--codec", asked.codec), ("--downlink", asked.downlink)):
        try:
            CODECS.check(codec)
        except ValueError as error:
            raise ConfigError(str(error), where=option) from error
    return WireConfig(codec=asked.codec, downlink=asked.downlink)


def _row(cost: Any) -> Row:
    message, traffic, memory = cost.message, cost.traffic, cost.memory
    return {
        "exchanged_parameters": {**message.exchanged_parameters, "total": message.total_parameters},
        "uplink_bytes": message.uplink_bytes,
        "downlink_bytes": message.downlink_bytes,
        "first_downlink_bytes": message.first_downlink_bytes,
        "server": {
            "round_uplink_bytes": traffic.round_uplink_bytes,
            "round_downlink_bytes": traffic.round_downlink_bytes,
            "first_broadcast_bytes": traffic.first_broadcast_bytes,
            "uplink_bytes": traffic.uplink_bytes,
            "downlink_bytes": traffic.downlink_bytes,
            "total_bytes": traffic.total_bytes,
        },
        "memory": {
            "frozen_bytes": memory.frozen_bytes,
            "trained_parameters": memory.trained_parameters,
            "trained_bytes": memory.trained_bytes,
            "activation_bytes": memory.activation_bytes,
            "activation_problem": memory.activation_problem,
            "total_bytes": memory.total_bytes,
        },
    }


def _print(document: Row) -> None:
    rows, base, clients = document["methods"], document["base_model"], document["clients"]
    out = console()
    print_line(
        out,
        f"{document['model']}, {document['task']}: {base['parameters']:,} parameters, "
        f"{format_bytes(base['bytes'])} in {base['dtype']}",
    )
    out.print(_message_table(rows, document))
    rounds = "1 round" if document["rounds"] == 1 else f"{document['rounds']:,} rounds"
    everyone = "1 client" if clients == 1 else f"{clients:,} clients"
    out.print(_server_table(rows, title=f"the server, {everyone} in every round", rounds=rounds))
    step = f"{document['batch_size']:,} x {document['max_length']:,} tokens"
    out.print(_memory_table(rows, title=f"a client's memory in a local step of {step}, AdamW"))
    for name, row in rows.items():
        if row["memory"]["activation_problem"]:
            problem = row["memory"]["activation_problem"]
            print_line(out, f"{name}: no activations, since the forward pass fails: {problem}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        words = column in {"method", "parameters by kind"}
        table.add_column(column, justify="left" if words else "right")
    return table


def _message_table(rows: dict[str, Row], document: Row) -> Table:
    lossy = "".join(
        f"; {way} in {document[key]}, at most"
        for way, key in (("up", "codec"), ("down", "downlink"))
        if CODECS[document[key]].lossy
    )
    columns = ("method", "parameters by kind", "total", "up", "down", "first down")
    table = _table(f"one client, one round{lossy}", *columns)
    for name, row in rows.items():
        counts = dict(row["exchanged_parameters"])
        total = counts.pop("total")
        table.add_row(
            name,
            ", ".join(f"{kind} {count:,}" for kind, count in counts.items()),
            f"{total:,}",
            *_bytes(row, "uplink_bytes", "downlink_bytes", "first_downlink_bytes"),
        )
    return table


def _server_table(rows: dict[str, Row], *, title: str, rounds: str) -> Table:
    columns = ("up a round", "down a round", "first broadcast")
    later = (f"{rounds}: up", "down after the first", "all")
    table = _table(title, "method", *columns, *later)
    keys = ("round_uplink", "round_downlink", "first_broadcast", "uplink", "downlink", "total")
    for name, row in rows.items():
        table.add_row(name, *_bytes(row["server"], *(f"{key}_bytes" for key in keys)))
    return table


def _memory_table(rows: dict[str, Row], *, title: str) -> Table:
    columns = ("frozen", "trained parameters", "with gradients, moments", "activations", "sum")
    table = _table(title, "method", *columns)
    for name, row in rows.items():
        memory = row["memory"]
        frozen, *others = _bytes(
            memory, "frozen_bytes", "trained_bytes", "activation_bytes", "total_bytes"
        )
        table.add_row(name, frozen, f"{memory['trained_parameters']:,}", *others)
    return table


def _bytes(row: Row, *keys: str) -> list[str]:
    return ["?" if row[key] is None else format_bytes(row[key]) for key in keys]
