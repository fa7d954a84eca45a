"""From tensors to bytes and back: what exactly is sent.

A payload is one safetensors file in memory with at most one flat tensor per data type: the
parameters of that type, row-major, one after another in the order of their sorted names. Names
and shapes do not travel: both ends know them, and the header carries a digest of them, so a
payload of another method, model or configuration is refused before anything is allocated. Names
of tensor-train cores are longer than the cores: sending them would add a quarter to a FedTT
message.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from fedtt.errors import WireError
from fedtt.federated.types import ClientUpdate
from fedtt.params import Params, Structure, non_finite_names, structure_of
from fedtt.strict_json import parse_json

FORMAT = "fedtt-flat-1"
MAX_HEADER_BYTES = 8192

_DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}


def structure_digest(structure: Structure) -> str:
    """First 128 bits (hex) of the SHA-256 of the sorted names, shapes and types."""
    rows = [[n, list(structure[n].shape), str(structure[n].dtype)] for n in sorted(structure)]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()[:32]


def encode(params: Params, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Payload of ``params``. ``metadata`` travels in the header and is counted like the rest."""
    structure = structure_of(params)
    flat = {
        _dtype_name(dtype): torch.cat([params[name].detach().cpu().flatten() for name in names])
        for dtype, names in _names_by_dtype(structure).items()
    }
    # One entry, because safetensors writes several in no particular order: the same params are
    # always the same bytes.
    payload: bytes = save(flat, metadata={"fedtt": _announcement(structure, metadata)})
    return payload


def encoded_length(structure: Structure, *, metadata: Mapping[str, str] | None = None) -> int:
    """Length of the payload of params of that structure, without making it."""
    header: dict[str, object] = {"__metadata__": {"fedtt": _announcement(structure, metadata)}}
    offset = 0
    for dtype, names in _names_by_dtype(structure).items():
        count = sum(structure[name].num_elements for name in names)
        end = offset + count * dtype.itemsize
        entry = {"dtype": _dtype_name(dtype), "shape": [count], "data_offsets": [offset, end]}
        header[_dtype_name(dtype)] = entry
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + offset  # safetensors pads its header to 8 bytes


def decode(
    payload: bytes, *, expected: Structure
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Params and metadata of a payload that must hold exactly ``expected``.

    The size and the header are checked before a tensor is allocated. Raises :class:`WireError`.
    """
    groups = _names_by_dtype(expected)
    num_bytes = sum(spec.num_elements * spec.dtype.itemsize for spec in expected.values())
    if not 8 < len(payload) <= 8 + MAX_HEADER_BYTES + num_bytes:
        raise WireError(
            "a payload has the wrong size",
            got=f"{len(payload)} bytes",
            expected=f"{num_bytes} bytes of tensors and at most {MAX_HEADER_BYTES} of header",
        )
    header = _read_header(payload)
    metadata = _parse_metadata(header.pop("__metadata__", {}))
    _check_announcement(metadata, structure_digest(expected))
    sizes = {
        _dtype_name(dtype): sum(expected[name].num_elements for name in names)
        for dtype, names in groups.items()
    }
    announced = {key: (entry.get("dtype"), entry.get("shape")) for key, entry in header.items()}
    if announced != {key: (key, [size]) for key, size in sizes.items()}:
        raise WireError("a payload announces other tensors than expected", got=announced)
    try:
        flat = load(payload)
    except SafetensorError as error:
        raise WireError("a payload is not valid safetensors data", got=error) from error
    params: dict[str, torch.Tensor] = {}
    for dtype, names in groups.items():
        pieces = flat[_dtype_name(dtype)].split([expected[name].num_elements for name in names])
        for name, piece in zip(names, pieces, strict=True):
            params[name] = piece.reshape(expected[name].shape).clone()
    return {name: params[name] for name in sorted(params)}, metadata


def read_metadata(payload: bytes) -> dict[str, str]:
    """What a payload's header says, before any tensor is looked at. Raises :class:`WireError`."""
    return _parse_metadata(_read_header(payload).get("__metadata__", {}))


def encode_update(update: ClientUpdate) -> bytes:
    """Uplink payload: the delta, and its counts and loss in the header.

    The header has a fixed width, so one structure always gives payloads of one length.
    """
    return encode(
        update.delta, metadata=_counts(update.num_examples, update.num_steps, update.loss)
    )


def update_length(structure: Structure) -> int:
    """Length of the uplink payload of a delta of that structure."""
    return encoded_length(structure, metadata=_counts(1, 1, 0.0))


def decode_update(payload: bytes, *, expected: Structure) -> ClientUpdate:
    """The client update in an uplink payload. Raises :class:`WireError` for anything implausible.

    A NaN or an infinity anywhere is refused here, so that it never reaches the global model.
    """
    delta, metadata = decode(payload, expected=expected)
    num_examples, num_steps = _count(metadata, "num_examples"), _count(metadata, "num_steps")
    try:
        loss = float(metadata["loss"])
    except (KeyError, ValueError) as error:
        raise WireError("an update lacks its loss", got=metadata.get("loss")) from error
    if not math.isfinite(loss):
        raise WireError("an update has an impossible loss", got=loss)
    bad = non_finite_names(delta)
    if bad:
        raise WireError("an update is not finite", where=", ".join(bad[:3]), got="NaN or infinity")
    return ClientUpdate(delta=delta, num_examples=num_examples, num_steps=num_steps, loss=loss)


def _counts(num_examples: int, num_steps: int, loss: float) -> dict[str, str]:
    return {
        "num_examples": f"{num_examples:012d}",
        "num_steps": f"{num_steps:012d}",
        "loss": f"{loss:+.17e}".ljust(25),
    }


def _count(metadata: Mapping[str, str], key: str) -> int:
    """A count as it is written: twelve digits, so no client can weigh more than 10^12 examples."""
    text = metadata.get(key, "")
    if not re.fullmatch("[0-9]{12}", text) or int(text) < 1:
        raise WireError(f"an update has an impossible {key}", got=text[:40])
    return int(text)


def _announcement(structure: Structure, metadata: Mapping[str, str] | None) -> str:
    header = {"format": FORMAT, "structure": structure_digest(structure), **(metadata or {})}
    return json.dumps(header, sort_keys=True)


def _names_by_dtype(structure: Structure) -> dict[torch.dtype, list[str]]:
    groups: dict[torch.dtype, list[str]] = {}
    for name in sorted(structure):
        groups.setdefault(structure[name].dtype, []).append(name)
    return groups


def _dtype_name(dtype: torch.dtype) -> str:
    if dtype not in _DTYPE_NAMES:
        raise WireError("a type that cannot be sent", got=dtype, expected=list(_DTYPE_NAMES))
    return _DTYPE_NAMES[dtype]


def _read_header(payload: bytes) -> dict[str, dict[str, object]]:
    length = int.from_bytes(payload[:8], "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, len(payload) - 8):
        raise WireError("a payload's header has an impossible length", got=f"{length} bytes")
    try:
        header = parse_json(payload[8 : 8 + length])
    except ValueError as error:
        raise WireError("a payload's header cannot be read", got=error) from error
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        raise WireError("a payload's header is not a table of tensors")
    return header


def _parse_metadata(entries: Mapping[str, object]) -> dict[str, str]:
    try:
        metadata = parse_json(str(entries.get("fedtt", "{}")))
    except ValueError as error:
        raise WireError("a payload's metadata cannot be read", got=error) from error
    if not isinstance(metadata, dict):
        raise WireError("a payload's metadata is not a table")
    return {str(key): str(value) for key, value in metadata.items()}


def _check_announcement(metadata: Mapping[str, object], digest: str) -> None:
    if metadata.get("format") != FORMAT:
        raise WireError("a payload has another format", got=metadata.get("format"), expected=FORMAT)
    if metadata.get("structure") != digest:
        raise WireError(
            "a payload was made for other parameters (names, shapes or types)",
            got=metadata.get("structure"),
            expected=digest,
            fix="run server and clients with the same method, model and configuration",
        )
