"""Parameters in a frame: what exactly is sent.

Names and shapes do not travel: both ends know them, and the header carries a digest of them, so a
payload of another method, model or configuration is refused before anything is allocated. Names
of tensor-train cores are longer than the cores: sending them would add a quarter to a FedTT
message.
"""

import hashlib
import json
from collections.abc import Mapping

from torch import Tensor

from fedtt.errors import WireError
from fedtt.federated.wire.codec import Codec
from fedtt.federated.wire.frame import MAX_HEADER_BYTES, Frame, seal, sealed_length, unseal
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Params, Structure, structure_of


def structure_digest(structure: Structure) -> str:
    """First 128 bits (hex) of the SHA-256 of the sorted names, shapes and types."""
    rows = [[n, list(structure[n].shape), str(structure[n].dtype)] for n in sorted(structure)]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()[:32]


def encode(
    params: Params,
    *,
    metadata: Mapping[str, str] | None = None,
    codec: Codec = PLAIN,
    seed: int = 0,
) -> bytes:
    """Payload of ``params``. ``metadata`` travels in the header and is counted like the rest.

    ``seed`` is that of the codec's chance.
    """
    header = header_of(structure_of(params), metadata, codec)
    return seal(Frame(header=header, body=codec.encode(params, seed=seed)))


def encoded_length(
    structure: Structure, *, metadata: Mapping[str, str] | None = None, codec: Codec = PLAIN
) -> int:
    """Length of the payload of params of that structure, without making it."""
    header = header_of(structure, metadata, codec)
    return sealed_length(header, body_length=codec.length(structure))


def decode(
    payload: bytes, *, expected: Structure, codec: Codec = PLAIN
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Params and header of a payload that must hold exactly ``expected``.

    Size, checksum and header are checked before a tensor is allocated. Raises :class:`WireError`.
    """
    most = codec.length(expected)
    if not 0 < len(payload) <= sealed_length({}, body_length=most) + MAX_HEADER_BYTES:
        raise WireError(
            "a payload has the wrong size",
            got=f"{len(payload)} bytes",
            expected=f"{most} bytes of parameters and at most {MAX_HEADER_BYTES} of header",
        )
    frame = unseal(payload)
    check_header(frame.header, expected, codec)
    return codec.decode(frame.body, expected=expected), dict(frame.header)


def read_header(payload: bytes) -> dict[str, str]:
    """What a payload says of itself, before any tensor is looked at. Raises :class:`WireError`."""
    return dict(unseal(payload).header)


def header_of(
    structure: Structure, metadata: Mapping[str, str] | None, codec: Codec
) -> dict[str, str]:
    """What a payload for parameters of that structure says of itself, in that codec."""
    return {"codec": codec.name, "structure": structure_digest(structure), **(metadata or {})}


def check_header(header: Mapping[str, str], expected: Structure, codec: Codec) -> None:
    """Raise :class:`WireError` for a payload of another codec, or made for other parameters."""
    if header.get("codec") != codec.name:
        raise WireError(
            "a payload was made by another codec",
            got=header.get("codec"),
            expected=codec.name,
            fix="run server and clients with the same [wire]",
        )
    digest = structure_digest(expected)
    if header.get("structure") != digest:
        raise WireError(
            "a payload was made for other parameters (names, shapes or types)",
            got=header.get("structure"),
            expected=digest,
            fix="run server and clients with the same method, model and configuration",
        )
