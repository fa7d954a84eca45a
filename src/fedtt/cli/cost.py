"""``fedtt cost``: what a method would send, from shapes alone."""

from typing import Any

from rich.table import Table

from fedtt.cli.console import console, format_bytes, print_json
from fedtt.config import parse_methods
from fedtt.errors import ConfigError


def cost_command(
    model: str,
    *,
    methods: list[str],
    overrides: list[str],
    task: str | None,
    num_labels: int,
    as_json: bool,
) -> None:
    """Print parameters by kind and bytes a round and client, for every method."""
    sections = parse_methods(methods, overrides=overrides)
    from fedtt.engine.cost import count_message
    from fedtt.engine.methods import build_method
    from fedtt.models import PEFT_TASK_TYPES, guess_task, load_model_config

    if task is not None and task not in PEFT_TASK_TYPES:
        raise ConfigError(
            "unknown task", where="--task", got=task, expected=", ".join(PEFT_TASK_TYPES)
        )
    config = load_model_config(model)
    task = task or guess_task(config)
    if task == "classification":
        config = load_model_config(model, num_labels=num_labels)
    rows = {
        name: _row(count_message(config, build_method(section, task=task), task=task))
        for name, section in sections.items()
    }
    if as_json:
        print_json({"model": model, "task": task, "methods": rows})
    else:
        _print_table(rows, title=f"{model}, {task}: one client, one round")


def _row(cost: Any) -> dict[str, Any]:
    return {
        "exchanged_parameters": {**cost.exchanged_parameters, "total": cost.total_parameters},
        "uplink_bytes": cost.uplink_bytes,
        "downlink_bytes": cost.downlink_bytes,
    }


def _print_table(rows: dict[str, dict[str, Any]], *, title: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("method", "parameters by kind", "total", "up", "down"):
        table.add_column(column, justify="left" if column.startswith(("m", "p")) else "right")
    for name, row in rows.items():
        counts = dict(row["exchanged_parameters"])
        total = counts.pop("total")
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
        table.add_row(
            name,
            kinds,
            f"{total:,}",
            format_bytes(row["uplink_bytes"]),
            format_bytes(row["downlink_bytes"]),
        )
    console().print(table)
