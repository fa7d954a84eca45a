"""The server's state on disk: one safetensors file, replaced atomically."""

import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedtt import params as p
from fedtt.errors import RunError
from fedtt.federated.types import ServerState
from fedtt.params import Structure

FORMAT = "fedtt-state-2"
SECTIONS = ("params", "optimizer", "left", "right")
BOOKS = ("changed_at", "synced_at", "progress")


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by ``content``, all or nothing. Raises :class:`RunError`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RunError("cannot write a file of the run", where=str(path), got=error) from error


def save_state(path: Path, state: ServerState) -> None:
    """Write the state, atomically."""
    tensors = {f"params/{name}": tensor for name, tensor in state.params.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    for name, (left, right) in state.factors.items():
        tensors |= {f"left/{name}": left.contiguous(), f"right/{name}": right.contiguous()}
    books = {name: dict(getattr(state, name)) for name in BOOKS}
    metadata = {
        "format": FORMAT,
        "next_round": str(state.next_round),
        "books": json.dumps(books, sort_keys=True),
    }
    write_atomically(path, save(tensors, metadata=metadata))


def load_state(path: Path, *, expected: Structure) -> ServerState:
    """The state in a file, whose parameters must be exactly ``expected``.

    Raises :class:`RunError` for a file that is missing, damaged or of another model or method.
    """
    sections: dict[str, dict[str, Tensor]] = {name: {} for name in SECTIONS}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118  (not a dict)
                section, _, name = key.partition("/")
                sections[section][name] = file.get_tensor(key)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"format {metadata.get('format')!r}, expected {FORMAT!r}")
        next_round, books = int(metadata["next_round"]), json.loads(metadata["books"])
        p.check_same_structure(sections["params"], expected)
        left, right = sections["left"], sections["right"]
        return ServerState(
            next_round=next_round,
            params=sections["params"],
            optimizer=sections["optimizer"],
            factors={name: (left[name], right[name]) for name in left},
            **{name: dict(books[name]) for name in BOOKS},
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise RunError(
            "the saved server state cannot be used",
            where=str(path),
            got=error,
            fix="start a new run with another --run directory, or with --overwrite",
        ) from error


def dump_json(value: object) -> bytes:
    """``value`` as indented JSON with a newline at its end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
