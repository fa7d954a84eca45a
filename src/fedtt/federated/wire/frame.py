"""A frame: a header that says what its body is, and a checksum over every bit of both.

::

    payload = "FTT2", 16 bytes of checksum, 4 bytes of header length (little-endian), header, body

The header is a JSON table of strings. The checksum is the first 128 bits of the SHA-256 of all that
follows it: what is damaged on its way, or cut, is refused before any of it is looked at. It is no
signature: who sent a payload is the transport's business.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from fedtt.errors import WireError
from fedtt.strict_json import parse_json

FORMAT = b"FTT2"  # the number is the version of the format
CHECKSUM_BYTES = 16
LENGTH_BYTES = 4
MAX_HEADER_BYTES = 8192
_HEADER_AT = len(FORMAT) + CHECKSUM_BYTES + LENGTH_BYTES


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A header, and the bytes that it describes."""

    header: Mapping[str, str]
    body: bytes


def seal(frame: Frame) -> bytes:
    """The frame as it travels. The same frame is always the same bytes."""
    text = _text(frame.header)
    sealed = len(text).to_bytes(LENGTH_BYTES, "little") + text + frame.body
    return FORMAT + _checksum(sealed) + sealed


def sealed_length(header: Mapping[str, str], *, body_length: int) -> int:
    """Length of a frame with a body of that length, without making it."""
    return _HEADER_AT + len(_text(header)) + body_length


def unseal(payload: bytes) -> Frame:
    """The frame in a payload. Raises :class:`WireError` unless every bit is as it was sealed."""
    if payload[: len(FORMAT)] != FORMAT:
        raise WireError(
            "a payload has another format",
            got=repr(payload[: len(FORMAT)]),
            expected=repr(FORMAT),
            fix="run the same fedtt at both ends",
        )
    checked = memoryview(payload)[len(FORMAT) + CHECKSUM_BYTES :]
    if payload[len(FORMAT) : len(FORMAT) + CHECKSUM_BYTES] != _checksum(checked):
        raise WireError(
            "a payload has another checksum than it states: it was damaged, or cut short",
            got=f"{len(payload)} bytes",
            fix="send it again",
        )
    length = int.from_bytes(checked[:LENGTH_BYTES], "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, len(checked) - LENGTH_BYTES):
        raise WireError("a payload's header has an impossible length", got=f"{length} bytes")
    text = payload[_HEADER_AT : _HEADER_AT + length]
    return Frame(header=_parse(text), body=payload[_HEADER_AT + length :])


def _checksum(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).digest()[:CHECKSUM_BYTES]


def _text(header: Mapping[str, str]) -> bytes:
    return json.dumps(dict(header), sort_keys=True, separators=(",", ":")).encode()


def _parse(text: bytes) -> dict[str, str]:
    try:
        header = parse_json(text)
    except ValueError as error:
        raise WireError("a payload's header cannot be read", got=error) from error
    if not isinstance(header, dict) or not all(isinstance(v, str) for v in header.values()):
        raise WireError("a payload's header is not a table of texts")
    return header
