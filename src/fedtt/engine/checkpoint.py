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

FORMAT = "fedtt-state-1"


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
    metadata = {"format": FORMAT, "next_round": str(state.next_round)}
    write_atomically(path, save(tensors, metadata=metadata))


def load_state(path: Path, *, expected: Structure) -> ServerState:
    """The state in a file, whose parameters must be exactly ``expected``.

    Raises :class:`RunError` for a file that is missing, damaged or of another model or method.
    """
    params: dict[str, Tensor] = {}
    optimizer: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118  (not a dict)
                section, _, name = key.partition("/")
                (params if section == "params" else optimizer)[name] = file.get_tensor(key)
        next_round = int(metadata["next_round"])
        p.check_same_structure(params, expected)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unusable(path, error) from error
    if metadata.get("format") != FORMAT:
        raise _unusable(path, f"format {metadata.get('format')!r}, expected {FORMAT!r}")
    return ServerState(next_round=next_round, params=params, optimizer=optimizer)


def dump_json(value: object) -> bytes:
    """``value`` as indented JSON with a newline at its end."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _unusable(path: Path, reason: object) -> RunError:
    return RunError(
        "the saved server state cannot be used",
        where=str(path),
        got=reason,
        fix="start a new run with another --run directory, or with --overwrite",
    )
