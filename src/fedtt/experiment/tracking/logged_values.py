"""What trackers are told of a run, and how it is called: the same names in all of them.

Everything is in the run's own files already: of clients only means, counts and sums, so no more of
a private run than its ``rounds.jsonl`` says.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from fedtt._version import __version__
from fedtt.config.overrides import flatten
from fedtt.experiment.directory import PLACES
from fedtt.experiment.measure import Metrics
from fedtt.experiment.run_files import Record
from fedtt.metrics import MEAN, POOLED

Values = dict[str, float]
Parameter = str | int | float | bool
MEASURED = ("before", "alone", "test")  # in a summary
LONGEST = 500  # characters of one parameter
EXACT = 2**53  # as far as a double counts
NOT_OF_A_NAME = re.compile(r"[^\w\-./ ]")
# Who follows is no parameter, and a tracker elsewhere need not know whose the data are.
KEPT_BACK = ("track.", "sites.names")


def round_values(record: Record, *, bytes_before: int) -> Values:
    """Of a line of ``rounds.jsonl``; ``bytes_before``: what the rounds before it sent."""
    sent = record["uplink_bytes"] + record["downlink_bytes"]
    found: dict[str, float | None] = {
        "train/loss": record["loss"],
        "train/learning_rate": record["learning_rate"],
        "bytes/up": record["uplink_bytes"],
        "bytes/down": record["downlink_bytes"],
        "bytes/total": bytes_before + sent,
        "clients/answered": len(record["clients"]),
        "clients/dropped": len(record["dropped"]),
        "time/seconds": record["seconds"],
        "privacy/epsilon": (record.get("privacy") or {}).get("epsilon"),
        "privacy/example_epsilon": (record.get("example_privacy") or {}).get("epsilon"),
        **metric_values("validation", record["validation"]),
    }
    return {name: value for name, value in found.items() if value is not None}


def summary_values(summary: Mapping[str, Any]) -> Values:
    """What was measured on the test split: of the start, of clients alone, of the result."""
    found: Values = {}
    for what in MEASURED:
        found |= metric_values(what, summary.get(what))
    return found


def metric_values(what: str, metrics: Metrics | None) -> Values:
    """The mean over clients of every metric, and over all examples together where that is known."""
    found: Values = {}
    for name, values in (metrics or {}).items():
        found[f"{what}/{name}"] = values[MEAN]
        if POOLED in values:
            found[f"{what}/{name}_{POOLED}"] = values[POOLED]
    return found


def parameters(config: Mapping[str, Any]) -> dict[str, Parameter]:
    """The configuration by dotted keys, as far as it is set; of paths the last part alone."""
    flat = {
        key: _parameter(_without_folder(value) if key in PLACES else value)
        for key, value in flatten(config).items()
    }
    kept = {
        NOT_OF_A_NAME.sub("_", key): value
        for key, value in flat.items()
        if value is not None and not key.startswith(KEPT_BACK)
    }
    return {"fedtt": __version__, **kept}


def _parameter(value: Any) -> Parameter | None:
    if value is None or value in ({}, [], ()):
        return None
    if isinstance(value, str):
        return _without_one_word(value)[:LONGEST]
    if isinstance(value, bool | int | float):
        return value if abs(value) <= EXACT else str(value)
    return json.dumps(_without_folders(value), ensure_ascii=False)[:LONGEST]


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(inner) for inner in value]
    return _without_one_word(value) if isinstance(value, str) else value


def _without_one_word(text: str) -> str:
    """Without folders, unless it has spaces: a prompt may begin with a slash."""
    return text if any(map(str.isspace, text)) else str(_without_folder(text))


def _without_folder(value: Any) -> Any:
    """As it is, unless it is a place on this machine; of that, the last part."""
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute():
            return kind(value).name
    return value
