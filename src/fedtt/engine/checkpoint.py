"""The server's state on disk: one safetensors file with a checksum, replaced atomically."""

import hashlib
import json
import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedtt import params as p
from fedtt.atomic_write import replace_file
from fedtt.errors import RunError, ShapeError
from fedtt.federated.failures import Failure
from fedtt.federated.sent_step import SentStep
from fedtt.federated.types import ServerState
from fedtt.params import Params, Structure, TensorSpec
from fedtt.run_place import parse_header, state_header

FORMAT = "fedtt-state-3"
# Of fedtt 0.1.0 before it knew checksums: it is read, and says nothing of the configuration.
UNCHECKED_FORMAT = "fedtt-state-2"
NO_CHECKSUM = "0" * 64  # what stands in the place of the checksum while it is taken
PIECE = 2**20
SECTIONS = ("params", "optimizer", "left", "right", "steps")
RESIDUAL = "residual"  # what clients owe, for whoever asks for it
BOOKS: Mapping[str, type] = {"changed_at": int, "synced_at": int, "progress": float}


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` by ``content``, all or nothing. Raises :class:`RunError`."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise RunError("cannot write a file of the run", where=str(path), got=error) from error


def save_state(
    path: Path,
    state: ServerState,
    *,
    config: Mapping[str, Any] | None = None,
    residuals: Mapping[str, Params] | None = None,
) -> None:
    """Write the state, atomically, with the ``config`` that it was made with: key -> value.

    ``residuals`` are what the clients of this process owe after the same round, by client.

    The checksum is the SHA-256 of the whole file with zeros in its own place.
    """
    tensors = {f"params/{name}": tensor for name, tensor in state.params.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
    for name, (left, right) in state.factors.items():
        tensors |= {f"left/{name}": left.contiguous(), f"right/{name}": right.contiguous()}
    for index, step in state.steps.items():
        tensors[f"steps/{index}"] = torch.frombuffer(bytearray(step.body), dtype=torch.uint8)
    residuals = residuals or {}
    owing = sorted(residuals)
    for index, client_id in enumerate(owing):
        owed = residuals[client_id].items()
        tensors |= {f"{RESIDUAL}/{index}/{name}": tensor.contiguous() for name, tensor in owed}
    books = {name: dict(getattr(state, name)) for name in BOOKS}
    header = {
        "format": FORMAT,
        "checksum": NO_CHECKSUM,
        "config": None if config is None else dict(config),
        "next_round": state.next_round,
        "steps_since": state.steps_since,
        "start": state.start,
        # What the step of a round moves: nothing where that is everything.
        "steps": {
            str(index): [] if step.names == state.params.keys() else sorted(step.names)
            for index, step in state.steps.items()
        },
        **books,
        **({"privacy": dict(state.privacy)} if state.privacy else {}),
        **({"failures": {c: [*f] for c, f in state.failures.items()}} if state.failures else {}),
        **({"owing": owing} if owing else {}),
    }
    # One entry, because safetensors writes several in no particular order: the same state is
    # always the same bytes.
    metadata = {"fedtt": json.dumps(header, sort_keys=True)}
    content: bytes = save(tensors, metadata=metadata)
    checksum = hashlib.sha256(content).hexdigest()
    write_atomically(path, content.replace(_place_of(NO_CHECKSUM), _place_of(checksum), 1))


def load_state(path: Path, *, expected: Structure) -> ServerState:
    """The state in a file, whose parameters must be exactly ``expected``.

    Raises :class:`RunError` for a file that is missing, damaged (by a single bit) or of another
    model or method.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_header(file.metadata())
            _check_whole(path, header)
            next_round = int(header["next_round"])
            if next_round < 0:
                raise ValueError(f"next round {next_round}")
            keys = list(file.keys())
            _check_shapes({key: tuple(file.get_slice(key).get_shape()) for key in keys}, expected)
            sections: dict[str, dict[str, Tensor]] = {name: {} for name in SECTIONS}
            for key in keys:
                section, _, name = key.partition("/")
                if section != RESIDUAL:
                    sections[section][name] = file.get_tensor(key)
        p.check_same_structure(sections["params"], expected)
        left, right = sections["left"], sections["right"]
        books: dict[str, Any] = {name: _book(header[name], kind) for name, kind in BOOKS.items()}
        return ServerState(
            next_round=next_round,
            params=sections["params"],
            optimizer=sections["optimizer"],
            factors={name: (left[name], right[name]) for name in left},
            steps_since=int(header.get("steps_since", 0)),
            privacy=_positive(_book(header.get("privacy", {}), float)),
            failures=_failures(header.get("failures", {})),
            start=str(header.get("start", "")),  # an older state does not say: all are strangers
            steps=_steps(header.get("steps", {}), sections["steps"], names=expected.keys()),
            **books,
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            "the saved server state cannot be used",
            where=str(path),
            got=error,
            fix="start a new run with another --run directory, or with --overwrite",
        ) from error


def load_residuals(path: Path, *, expected: Structure) -> dict[str, Params]:
    """What the clients owe after the state's last round, by client: parts of ``expected``.

    Raises :class:`RunError` like :func:`load_state`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_header(file.metadata())
            _check_whole(path, header)
            owing = header.get("owing", [])
            residuals: dict[str, dict[str, Tensor]] = {str(client_id): {} for client_id in owing}
            keys = list(file.keys())
            for key in keys:
                section, _, rest = key.partition("/")
                if section == RESIDUAL:
                    index, _, name = rest.partition("/")
                    tensor = file.get_tensor(key)
                    _check_part(name, tensor, expected[name])
                    residuals[owing[int(index)]][name] = tensor
        return dict(residuals)
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            "what the clients owe cannot be used",
            where=str(path),
            got=error,
            fix="start a new run with another --run directory, or with --overwrite",
        ) from error


def _check_part(name: str, tensor: Tensor, spec: TensorSpec) -> None:
    """A client of a lower rank has a leading part of what the server has."""
    fits = len(tensor.shape) == len(spec.shape) and all(
        own <= whole for own, whole in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits or tensor.dtype != spec.dtype:
        raise ShapeError("a residual is of another shape or type", where=name)


def saved_config(path: Path) -> dict[str, Any] | None:
    """The configuration that a state was made with; None where it does not say, or is no state."""
    config = state_header(path).get("config")
    return config if isinstance(config, dict) else None


def is_unchecked(path: Path) -> bool:
    """Whether a state is of the format that had no checksum."""
    return bool(state_header(path).get("format") == UNCHECKED_FORMAT)


def _place_of(checksum: str) -> bytes:
    """The checksum as it stands in the file's header, where a string holds the JSON."""
    return json.dumps(json.dumps({"checksum": checksum}))[2:-2].encode()


def _check_whole(path: Path, header: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless the file has the checksum that it states."""
    kind, checksum = header.get("format"), header.get("checksum")
    if kind == UNCHECKED_FORMAT and not {"checksum", "config"} & header.keys():
        return
    if kind != FORMAT:
        raise ValueError(f"format {kind!r}, expected {FORMAT!r}: another fedtt wrote it")
    place = _place_of(str(checksum))
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(int.from_bytes(start, "little"))
        digest = hashlib.sha256(start.replace(place, _place_of(NO_CHECKSUM), 1))
        while piece := file.read(PIECE):
            digest.update(piece)
    if digest.hexdigest() != checksum:
        raise ValueError("its checksum is another one: the file is damaged")


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


def _failures(book: Mapping[str, Any]) -> dict[str, Failure]:
    failures = {str(client): Failure(*entry) for client, entry in book.items()}
    if not all(type(reason) is str and type(n) is int and n > 0 for reason, n in failures.values()):
        raise ValueError("its books of failures are impossible")
    return failures


def _positive(book: dict[str, float]) -> dict[str, float]:
    """A noise and a norm are finite numbers above zero."""
    if not all(0 < value < math.inf for value in book.values()):
        raise ValueError("its noise or its clipping norm is impossible")
    return book


def _steps(
    moved: Mapping[str, list[str]], bodies: Mapping[str, Tensor], *, names: Set[str]
) -> dict[int, SentStep]:
    """The steps of the last rounds, by round."""
    if moved.keys() != bodies.keys() or not all(names >= set(own) for own in moved.values()):
        raise ValueError("its steps are of other parameters")
    return {
        int(index): SentStep(
            names=frozenset(own or names), body=bodies[index].view(torch.uint8).numpy().tobytes()
        )
        for index, own in moved.items()
    }


def dump_json(value: object) -> bytes:
    """``value`` as indented JSON with a newline at its end. Raises ``ValueError`` for NaN."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
