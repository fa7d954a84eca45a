"""A frame as the content of a Flower message, and back. Loads no torch."""

import json
from typing import cast

from flwr.app import ConfigRecord, RecordDict

from fedtt.errors import WireError
from fedtt.sites.frames import MAX_TEXT, Frame, read_table
from fedtt.sites.peer_text import quote_peer

RECORD = "fedtt"
MAX_BLOBS = 2**16
QUERY = "query"  # Flower's own kinds are train, evaluate and query; we have one that says more


def to_record(frame: Frame) -> RecordDict:
    """The content of a Flower message that carries the frame."""
    record = ConfigRecord({"content": json.dumps(frame.content), "blobs": list(frame.blobs)})
    return RecordDict({RECORD: record})


def from_record(content: RecordDict, *, limit: int) -> Frame:
    """The frame in a Flower message of at most ``limit`` bytes of blobs.

    Raises :class:`WireError` for anything else: a peer may send what it likes.
    """
    text, blobs = unread(content, limit=limit, max_text=MAX_TEXT)
    return Frame(content=read_table(text), blobs=blobs)


def unread(content: RecordDict, *, limit: int, max_text: int) -> tuple[bytes, list[bytes]]:
    """The text in a Flower message, which nobody has looked into yet, and its blobs.

    Raises :class:`WireError` where there are none, or too much.
    """
    record = content.get(RECORD)
    if len(content) != 1 or not isinstance(record, ConfigRecord):
        names = quote_peer(sorted(content)[:5])
        raise WireError("a message holds other records than ours", got=names)
    text, blobs = record.get("content"), record.get("blobs")
    if not isinstance(text, str) or len(text) > max_text:
        raise WireError("a message has no text, or too much", got=type(text).__name__)
    if not isinstance(blobs, list) or not all(isinstance(blob, bytes) for blob in blobs):
        raise WireError("a message has no list of bytes", got=type(blobs).__name__)
    own = cast("list[bytes]", blobs)
    if len(blobs) > MAX_BLOBS:  # each of them is a number in a frame's text
        raise WireError("a message has too many blobs", got=len(blobs), expected=MAX_BLOBS)
    size = sum(map(len, own))
    if size > limit:
        raise WireError("a message is too large", got=f"{size} bytes", expected=f"at most {limit}")
    encoded = text.encode(errors="replace")
    if len(encoded) > max_text:
        raise WireError("a message has too much text", got=f"{len(encoded)} bytes")
    return encoded, list(own)
