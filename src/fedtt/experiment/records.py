"""The line of a round in ``rounds.jsonl``: written here, and checked here when it is read."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from fedtt.experiment.measure import Metrics
from fedtt.federated.types import RoundReport
from fedtt.metrics import MEAN
from fedtt.strict_json import parse_json

Record = dict[str, Any]


def round_record(
    report: RoundReport, validation: Metrics | None, *, learning_rate: float, seconds: float
) -> Record:
    """What is kept of a finished round."""
    return {
        "round": report.round_index,
        "loss": report.loss,
        "learning_rate": learning_rate,
        "validation": validation,
        "uplink_bytes": report.uplink_bytes,
        "downlink_bytes": report.downlink_bytes,
        "seconds": round(seconds, 3),
        "clients": {
            client_id: {
                "num_examples": client.num_examples,
                "steps": client.num_steps,
                "loss": client.loss,
                "uplink_bytes": client.uplink_bytes,
                "downlink_bytes": client.downlink_bytes,
            }
            for client_id, client in report.clients.items()
        },
        "dropped": dict(report.dropped),
        **({"unused": report.unused} if report.unused else {}),
    }


def read_record(line: str, *, index: int) -> Record:
    """The record in a line, which must be that of round ``index``. Raises ``ValueError``."""
    record = parse_json(line)
    if not isinstance(record, dict):
        raise ValueError(f"{type(record).__name__}, not an object")
    bad = [key for key, holds in _KINDS.items() if not holds(record.get(key, ...))]
    if bad:
        raise ValueError(f"missing or of another kind: {', '.join(bad)}")
    if record["round"] != index:
        raise ValueError(f"round {record['round']}, expected round {index}")
    return record


def is_metrics(value: object) -> bool:
    """Metric -> mean and clients -> a number, as :func:`fedtt.experiment.measure.measure` gives."""
    tables = is_scores_by_client(value)
    return tables and isinstance(value, Mapping) and all(MEAN in v for v in value.values())


def is_scores_by_client(value: object) -> bool:
    """Two levels of names, and finite numbers; ``loss``, which every task has, on one of them."""
    return (
        isinstance(value, Mapping)
        and all(_is_numbers(scores) for scores in value.values())
        and ("loss" in value or all("loss" in scores for scores in value.values()))
    )


def _is_numbers(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_number(number) for number in value.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0 and not isinstance(value, bool)


_CLIENT: Mapping[str, Callable[[object], bool]] = {
    "num_examples": _is_count,
    "steps": _is_count,
    "loss": _is_number,
    "uplink_bytes": _is_count,
    "downlink_bytes": _is_count,
}


def _is_clients(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(client, Mapping) and all(holds(client.get(k)) for k, holds in _CLIENT.items())
        for client in value.values()
    )


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "round": _is_count,
    "loss": lambda value: value is None or _is_number(value),
    "learning_rate": _is_number,
    "validation": lambda value: value is None or is_metrics(value),
    "uplink_bytes": _is_count,
    "downlink_bytes": _is_count,
    "seconds": _is_number,
    "clients": _is_clients,
    "dropped": _is_numbers,
    "unused": lambda value: value is ... or isinstance(value, str),
}
