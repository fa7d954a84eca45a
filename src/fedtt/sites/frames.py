"""What processes of one machine tell each other over a unix socket: JSON, and bytes beside it.

::

    frame = 4 bytes: length of the JSON, then the JSON {"content": ..., "sizes": [...]}, the blobs

Nothing is unpickled, and no more is read than the reader allows. Loads neither torch nor Flower.
"""

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtt.errors import WireError
from fedtt.strict_json import parse_json

MAX_TEXT = 2**24
MAX_DEPTH = 32  # tables in tables: what is deeper can be read, but neither shown nor written
OWN_LIMIT = 2**36  # bytes of blobs between processes of one owner
# Where the path of the socket stands in the environment of Flower's processes.
SITE_SOCKET, SERVE_SOCKET = "FEDTT_SITE_SOCKET", "FEDTT_SERVE_SOCKET"
_LENGTH = struct.Struct(">I")
_PIECE = 2**20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """``content`` is whatever JSON can say; ``blobs`` are bytes beside it."""

    content: dict[str, Any]
    blobs: Sequence[bytes] = ()


def send_frame(connection: socket.socket, frame: Frame) -> None:
    """Raises ``OSError`` where the other end is gone."""
    sizes = [len(blob) for blob in frame.blobs]
    text = json.dumps({"content": frame.content, "sizes": sizes}).encode()
    connection.sendall(_LENGTH.pack(len(text)) + text)
    for blob in frame.blobs:
        connection.sendall(blob)


def receive_frame(connection: socket.socket, *, limit: int) -> Frame:
    """The next frame, of at most ``limit`` bytes of blobs.

    Raises :class:`WireError` for what is none, and ``OSError`` where the other end is gone.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size))
    if not 0 < length <= MAX_TEXT:
        raise WireError("a frame's text has an impossible length", got=f"{length} bytes")
    try:
        header = parse_json(_read(connection, length))
        content, sizes = header["content"], header["sizes"]
    except (ValueError, KeyError, TypeError) as error:
        raise WireError("a frame cannot be read", got=error) from error
    if not isinstance(content, dict) or not _are_sizes(sizes):
        raise WireError("a frame is no table with sizes")
    if sum(sizes) > limit:
        raise WireError("a frame is too large", got=f"{sum(sizes)} bytes", expected=limit)
    return Frame(content=content, blobs=[_read(connection, size) for size in sizes])


def read_table(text: bytes) -> dict[str, Any]:
    """The table that a peer's JSON says. Raises :class:`WireError` for anything else."""
    try:
        table = parse_json(text)
    except ValueError as error:
        raise WireError("a message's text is not JSON", got=type(error).__name__) from error
    if not isinstance(table, dict):
        raise WireError("a message's text is no table", got=type(table).__name__)
    if not _is_shallow(table):
        raise WireError("a message's text is nested too deep", expected=f"{MAX_DEPTH} levels")
    return table


def ask(path: Path, frame: Frame, *, timeout: float, limit: int) -> Frame:
    """The answer of whoever listens at ``path``. Raises like :func:`receive_frame`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        send_frame(connection, frame)
        return receive_frame(connection, limit=limit)


def _is_shallow(table: dict[str, Any]) -> bool:
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level = [value for one in inner for value in one if isinstance(value, dict | list)]
        if not level:
            return True
    return False


def _are_sizes(sizes: object) -> bool:
    return isinstance(sizes, list) and all(type(size) is int and size >= 0 for size in sizes)


def _read(connection: socket.socket, count: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < count:
        piece = connection.recv(min(_PIECE, count - len(pieces)))
        if not piece:
            raise ConnectionResetError("the other end closed the connection")
        pieces += piece
    return bytes(pieces)
