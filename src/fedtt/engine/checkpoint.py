"""The server's state on disk: one safetensors file, replaced atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedtt import params as p
from fedtt.atomic_write import replace_file
from fedtt.errors import RunError, ShapeError
from fedtt.federated.types import ServerState
from fedtt.params import Structure
from fedtt.strict_json import parse_json

FORMAT = "fedtt-state-2"
SECTIONS = ("params", "optimizer", "left", "right")
BOOKS: Mapping[str, type] = {"changed_at": int, "synced_at": int, "progress": float}


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by ``content``, all or nothing. Raises :class:`RunError`."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise RunError("cannot write a file of the run", where=str(path), got=error) from error


def save_state(path: Path, state: ServerState) -> None:
    """Write the state, atomically."""
    tensors = {f"params/{name}": tensor for name, tensor in state.params.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    for name, (left, right) in state.factors.items():
        tensors |= {f"left/{name}": left.contiguous(), f"right/{name}": right.contiguous()}
    books = {name: dict(getattr(state, name)) for name in BOOKS}
    header = {"format": FORMAT, "next_round": state.next_round, **books}
    # One entry, because safetensors writes several in no particular order: the same state is
    # always the same bytes.
    metadata = {"fedtt": json.dumps(header, sort_keys=True)}
    write_atomically(path, save(tensors, metadata=metadata))


def load_state(path: Path, *, expected: Structure) -> ServerState:
    """The state in a file, whose parameters must be exactly ``expected``.

    Raises :class:`RunError` for a file that is missing, damaged or of another model or method.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(file.metadata())
            if header.get("format") != FORMAT:
                raise ValueError(f"format {header.get('format')!r}, expected {FORMAT!r}")
            next_round = int(header["next_round"])
            if next_round < 0:
                raise ValueError(f"next round {next_round}")
            keys = list(file.keys())
            _check_shapes({key: tuple(file.get_slice(key).get_shape()) for key in keys}, expected)
            sections: dict[str, dict[str, Tensor]] = {name: {} for name in SECTIONS}
            for key in keys:
                section, _, name = key.partition("/")
                sections[section][name] = file.get_tensor(key)
        p.check_same_structure(sections["params"], expected)
        left, right = sections["left"], sections["right"]
        return ServerState(
            next_round=next_round,
            params=sections["params"],
            optimizer=sections["optimizer"],
            factors={name: (left[name], right[name]) for name in left},
            **{name: _book(header[name], kind) for name, kind in BOOKS.items()},
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            "the saved server state cannot be used",
            where=str(path),
            got=error,
            fix="start a new run with another --run directory, or with --overwrite",
        ) from error


def is_state(path: Path) -> bool:
    """Whether a state of ours, of any version, lies there; looks at the header only."""
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(file.metadata())
        return str(header.get("format")).startswith("fedtt-state-")
    except (OSError, SafetensorError, RuntimeError, ValueError):
        return False


def _header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What a state says of itself. Raises ``ValueError`` for what is no such header."""
    header = parse_json((metadata or {}).get("fedtt", "{}"))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Structure) -> None:
    """Names and shapes as the file's header gives them, before a tensor is read."""
    wanted = {f"params/{name}": spec.shape for name, spec in expected.items()}
    found = {key: shape for key, shape in shapes.items() if key.startswith("params/")}
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            raise ShapeError(
                "a parameter is not as expected",
                where=key.removeprefix("params/"),
                got=found.get(key, "missing"),
                expected=wanted.get(key, "no such parameter"),
            )


def _book(entries: Any, kind: type) -> dict[str, Any]:
    """One of the state's books: every entry a plain number of that kind."""
    if not all(type(value) is kind for value in entries.values()):
        raise TypeError(f"an entry of the state's books is no {kind.__name__}")
    return dict(entries)


def dump_json(value: object) -> bytes:
    """``value`` as indented JSON with a newline at its end. Raises ``ValueError`` for NaN."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
