"""What a run knows of its data and its base model, and whether they are still the same."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from fedtt._version import __version__
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.fingerprint import digest_base, digest_texts
from fedtt.errors import RunError

Description = Mapping[str, Any]
# How texts become tokens; 2: the assistant's turn ends as the chat template ends it, and a prompt
# that is cut keeps the token that begins it. Runs of fedtt 0.1.0 and earlier saved no number.
TOKENS_VERSION = 2
TEXTS_CHANGED = "texts or labels changed"
MAX_CLASSES = 50
MAX_LISTED = 1000  # of more clients the total; their digest tells whether one changed


def describe(federation: Federation, config: RunConfig) -> dict[str, Any]:
    """Label names, examples by client and split, notes, digests; no texts. By label, too, but for
    runs that guarantee privacy.
    """
    counts: dict[str, dict[str, int]] = {}
    for split, held in federation.splits.items():
        names, sizes = held.parts.names, held.parts.sizes.tolist()
        if len(names) > MAX_LISTED:
            names, sizes = (f"{len(names):,} clients",), [sum(sizes)]
        for name, size in zip(names, sizes, strict=True):
            counts.setdefault(name, {})[split] = size
    digests = {split: digest_texts(held) for split, held in federation.splits.items()}
    base = digest_base(federation.model, federation.initial.params)
    return {
        "fedtt": __version__,
        "tokens_version": TOKENS_VERSION,
        "label_names": list(federation.label_names),
        "clients": counts,
        "labels": {} if config.privacy.is_private else _label_counts(federation),
        "score": asdict(federation.task.score),
        "notes": list(federation.notes),
        "digests": {**digests, "base_model": base},
    }


def _label_counts(federation: Federation) -> dict[str, list[int]]:
    """Client -> training texts of every class, in the order of the names; none where there are no
    classes, or very many classes or clients.
    """
    held, classes = federation.splits["train"], len(federation.label_names)
    if not 1 < classes <= MAX_CLASSES or not 0 < len(held.parts) <= MAX_LISTED:
        return {}
    labels = held.pool.labels
    if not np.issubdtype(labels.dtype, np.integer):  # numbers to predict, of one name
        return {}
    return {
        name: np.bincount(labels[positions], minlength=classes).tolist()
        for name, positions in held.parts.items()
    }


def is_data_at_sites(description: Description) -> bool | None:
    """Whether the data lay at sites, of which the server counts none: else who ran the run held it,
    whatever engine played the clients. None where the description does not tell.
    """
    clients = description.get("clients")
    return not any(sizes.get("train") for sizes in clients.values()) if clients else None


def check_unchanged(saved: Description, now: Description, *, where: str) -> None:
    """Raise :class:`RunError` with the differences if data or base weights changed since.

    A run of an earlier version, which saved no digests, and a part that ``now`` lacks are not
    compared.
    """
    differences = list(_differences(saved, now)) if "digests" in saved else []
    if any(TEXTS_CHANGED in line for line in differences) and _reads_otherwise(saved, now):
        made = saved.get("fedtt", "0.1.0 or earlier")
        raise RunError(
            f"the run was made by fedtt {made}, which made other tokens of prompts and chats, or "
            "its data changed: " + "; ".join(differences),
            where=where,
            fix=f"go on with fedtt {made}, or start a new run with another --run directory",
        )
    if differences:
        raise RunError(
            "data or base model are not what the run began with: " + "; ".join(differences),
            where=where,
            fix="bring the old ones back, or start a new run with another --run directory",
        )


def _reads_otherwise(saved: Description, now: Description) -> bool:
    """Whether the run's version made other tokens of the same texts, of which ``now`` tells."""
    here = now.get("tokens_version")
    return here is not None and saved.get("tokens_version", 1) != here


def _differences(saved: Description, now: Description) -> list[str]:
    if "label_names" in now and saved["label_names"] != now["label_names"]:
        return [f"label_names {saved['label_names']} -> {now['label_names']}"]
    found = []
    if "clients" in now and saved["clients"] != now["clients"]:
        found = _count_differences(saved["clients"], now["clients"])
    for part, digest in now["digests"].items():
        if saved["digests"].get(part) == digest:
            continue
        if part == "base_model":
            found.append("the weights of the base model changed")
        elif not found:
            found.append(f"{TEXTS_CHANGED} in the {part} split")
    return found


def _count_differences(saved: Description, now: Description) -> list[str]:
    gone, new = sorted(set(saved) - set(now)), sorted(set(now) - set(saved))
    if gone or new:
        return [f"the clients changed ({len(gone)} gone {gone[:3]}, {len(new)} new {new[:3]})"]
    changed = [
        f"client {client_id}: {split} {before.get(split, 0)} -> {now[client_id].get(split, 0)}"
        for client_id, before in saved.items()
        for split in sorted({*before, *now[client_id]})
        if before.get(split, 0) != now[client_id].get(split, 0)
    ]
    more = [f"and {len(changed) - 3} more counts"] if len(changed) > 3 else []
    return [*changed[:3], *more]
