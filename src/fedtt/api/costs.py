"""``fedtt.cost``: what methods send and hold with a model, from shapes alone."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from fedtt.cli.cost_command import CostQuestion, cost_document
from fedtt.errors import ConfigError


def cost(
    model: str | Path, methods: str | Sequence[str] = CostQuestion.methods, **question: Any
) -> pd.DataFrame:
    """One row a method, one column a number, as ``fedtt cost --json`` has them.

    ``model`` is an alias, a hub id, a directory or a ``config.json``; no weights are loaded. The
    other arguments are the command's options: ``overrides`` (of the method's keys), ``codec``,
    ``downlink``, ``task``, ``num_labels``, ``clients``, ``rounds``, ``batch_size``,
    ``max_length``, ``dtype``. Columns: bytes of one message, of all clients in all rounds
    (``server_*``), of a client's memory (``memory_*``), parameters by kind. Raises
    :class:`~fedtt.errors.ConfigError` for a bad name.
    """
    known = [field.name for field in fields(CostQuestion)]
    for name in question:
        if name not in known:
            raise ConfigError("no such argument", got=name, expected=", ".join(known))
    for name in ("num_labels", "clients", "rounds", "batch_size", "max_length"):
        if (value := question.get(name)) is not None and (type(value) is not int or value < 1):
            raise ConfigError("no such number", where=name, got=value, expected="at least 1")
    if isinstance(question.get("overrides"), str):
        question["overrides"] = (question["overrides"],)
    named = (methods,) if isinstance(methods, str) else tuple(methods)
    asked = CostQuestion(model=str(model), methods=named, **question)
    rows = {name: _flat(row) for name, row in cost_document(asked)["methods"].items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        below = (
            _flat(value, f"{prefix}{key}_") if isinstance(value, dict) else {prefix + key: value}
        )
        flat |= below
    return flat
