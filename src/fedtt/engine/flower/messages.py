"""A frame as the content of a Flower message, and back. Loads no torch."""

import json

from flwr.app import ConfigRecord, RecordDict

from fedtt.engine.flower.frames import MAX_TEXT, Frame
from fedtt.errors import WireError

RECORD = "fedtt"
QUERY = "query"  # Flower's own kinds are train, evaluate and query; we have one that says more


def to_record(frame: Frame) -> RecordDict:
    """The content of a Flower message that carries the frame."""
    record = ConfigRecord({"content": json.dumps(frame.content), "blobs": list(frame.blobs)})
    return RecordDict({RECORD: record})


def from_record(content: RecordDict, *, limit: int) -> Frame:
    """The frame in a Flower message of at most ``limit`` bytes of blobs.

    Raises :class:`WireError` for anything else: a peer may send what it likes.
    """
    record = content.get(RECORD)
    if len(content) != 1 or not isinstance(record, ConfigRecord):
        raise WireError("a message holds other records than ours", got=sorted(content)[:5])
    text, blobs = record.get("content"), record.get("blobs")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise WireError("a message has no text, or too much", got=type(text).__name__)
    if not isinstance(blobs, list) or not all(isinstance(blob, bytes) for blob in blobs):
        raise WireError("a message has no list of bytes", got=type(blobs).__name__)
    size = sum(len(blob) for blob in blobs if isinstance(blob, bytes))
    if size > limit:
        raise WireError("a message is too large", got=f"{size} bytes", expected=f"at most {limit}")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError("a message's text is not JSON", got=error) from error
    if not isinstance(table, dict):
        raise WireError("a message's text is no table", got=type(table).__name__)
    return Frame(content=table, blobs=[blob for blob in blobs if isinstance(blob, bytes)])
