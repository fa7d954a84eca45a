"""The result of a run as one value: what ``summary.json`` holds."""

import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from fedtt._version import __version__
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.experiment.measure import Metrics
from fedtt.experiment.privacy_plan import PrivacyPlan


def summarize(
    config: RunConfig,
    federation: Federation,
    *,
    records: list[dict[str, Any]],
    before: Metrics | None,
    alone: Metrics | None,
    test: Metrics | None,
    privacy: PrivacyPlan | None = None,
    examples: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything a reader of the run wants first. Bytes are sums of payload lengths as sent.

    ``before``, ``alone`` and ``test`` are ``None`` where they were not measured, ``privacy`` where
    nothing is guaranteed to clients; ``examples`` is what is to their examples.

    ``lora_reference`` is what FedAvg with LoRA rank 8 would have sent in the same rounds to and
    from the same clients: payload lengths of that method on the same model; None where LoRA has no
    place in the model by default.
    """
    counts = federation.exchanged_parameters
    return {
        "method": config.method.name,
        "model": config.model.name,
        "seed": config.seed,
        "rounds": len(records),
        "seconds": round(sum(record["seconds"] for record in records), 3),
        "score": asdict(federation.task.score),
        "privacy": None if privacy is None else privacy.result(len(records)),
        "example_privacy": examples,
        "attack": _attack(federation),
        "test": test,
        "before": before,
        "alone": alone,
        "uplink_bytes": sum(record["uplink_bytes"] for record in records),
        "downlink_bytes": sum(record["downlink_bytes"] for record in records),
        "exchanged_parameters": {**counts, "total": sum(counts.values())},
        "subspace_numbers": federation.subspace_numbers,
        "lora_reference": _lora_reference(federation, records),
        "notes": list(federation.notes),
        "environment": environment(federation),
    }


def _attack(federation: Federation) -> dict[str, Any] | None:
    hostile = federation.hostile
    if hostile is None:
        return None
    return {
        "simulated": True,
        "kind": hostile.kind,
        "strength": hostile.strength,
        "clients": list(hostile.clients),
    }


def _lora_reference(federation: Federation, records: list[dict[str, Any]]) -> dict[str, Any] | None:
    reference = federation.lora_reference
    if reference is None:
        return None
    first, *later = [len(record["clients"]) for record in records]
    down = first * reference.first_downlink_bytes + sum(later) * reference.downlink_bytes
    return {
        "uplink_bytes": round((first + sum(later)) * reference.uplink_bytes),
        "downlink_bytes": round(down),
        "exchanged_parameters": {
            **reference.exchanged_parameters,
            "total": reference.total_parameters,
        },
    }


def environment(federation: Federation) -> dict[str, Any]:
    """Versions and machine, for whoever repeats the run."""
    packages = ("torch", "transformers", "peft")
    return {
        "fedtt": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(next(federation.model.parameters()).device),
    }
