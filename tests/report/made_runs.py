"""Run directories with the numbers that a test wants, without a run."""

import json
from pathlib import Path
from typing import Any

from fedtt.config import RunConfig, dump_config
from fedtt.run_place import MARKER

Scores = dict[str, float]


def with_mean(scores: Scores) -> Scores:
    return {"mean": sum(scores.values()) / len(scores), **scores}


def record(index: int, *, clients: list[str], validation: float | None = None, **changes) -> dict:
    """A line of ``rounds.jsonl``: every client sends 100 bytes and is sent 50."""
    loss = 1.0 / (index + 1)
    sent = {"uplink_bytes": 100, "downlink_bytes": 50}
    scores = with_mean(dict.fromkeys(clients, validation)) if validation is not None else None
    return {
        "round": index,
        "loss": loss,
        "learning_rate": 0.01,
        "validation": scores and {"accuracy": scores, "loss": with_mean({"n": loss})},
        "uplink_bytes": 100 * len(clients),
        "downlink_bytes": 50 * len(clients),
        "seconds": 0.5,
        "clients": {c: {"num_examples": 9, "steps": 2, "loss": loss, **sent} for c in clients},
        "dropped": {},
        **changes,
    }


def made_run(
    path: Path,
    config: RunConfig,
    *,
    rounds: list[dict[str, Any]],
    test: Scores | None = None,
    alone: Scores | None = None,
    before: Scores | None = None,
    sizes: dict[str, int] | None = None,
    digests: dict[str, str] | None = None,
    ended: bool = True,
    **summary: Any,
) -> Path:
    """A run of those rounds; ``test``, ``alone`` and ``before`` are accuracies by client."""
    path.mkdir(parents=True)
    (path / "config.toml").write_text(MARKER + dump_config(config))
    (path / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rounds))
    if sizes is not None:
        counts = {name: {"train": 4 * n, "validation": n, "test": n} for name, n in sizes.items()}
        labels = {name: [n, 3 * n] for name, n in sizes.items()}
        data = {"label_names": ["bad", "good"], "clients": counts, "labels": labels}
        data |= {"digests": digests} if digests else {}
        (path / "data.json").write_text(json.dumps({**data, "notes": ["a text was cut."]}))
    if ended:
        tables = {"test": test, "alone": alone, "before": before}
        measured = {
            what: None if scores is None else {"accuracy": with_mean(scores), "loss": {"mean": 1.0}}
            for what, scores in tables.items()
        }
        result = {
            "method": config.method.name,
            "seed": config.seed,
            "rounds": len(rounds),
            "seconds": 1.0,
            "score": {"name": "accuracy", "higher_is_better": True},
            "exchanged_parameters": {"cores": 30, "head": 12, "total": 42},
            "uplink_bytes": sum(one["uplink_bytes"] for one in rounds),
            "downlink_bytes": sum(one["downlink_bytes"] for one in rounds),
            "notes": ["a text was cut."],
            "environment": {"fedtt": "0", "device": "cpu"},
            **measured,
            **summary,
        }
        (path / "summary.json").write_text(json.dumps(result))
    return path
