"""Flower's server app: does with Flower's grid what ``fedtt serve`` asks over a unix socket.

The run itself, with torch, is in the process of ``fedtt serve``; this one only carries messages.
"""

import os
import socket
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from fedtt.engine.flower.frames import (
    OWN_LIMIT,
    SERVE_SOCKET,
    Frame,
    receive_frame,
    send_frame,
)
from fedtt.engine.flower.messages import QUERY, from_record, to_record
from fedtt.errors import WireError


def serve_requests(grid: Grid, _context: Context) -> None:
    """Until the other end is gone: one answer a request."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.environ[SERVE_SOCKET])
        while True:
            try:
                asked = receive_frame(connection, limit=OWN_LIMIT)
                send_frame(connection, handle(grid, asked))
            except OSError:
                return


def handle(grid: Grid, asked: Frame) -> Frame:
    """The answer to one request: who is there, send this, what has come back."""
    request = asked.content
    if request["do"] == "nodes":
        return Frame(content={"nodes": list(grid.get_node_ids())})
    if request["do"] == "push":
        message = Message(
            to_record(Frame(content=request["message"], blobs=asked.blobs)),
            dst_node_id=request["node"],
            message_type=QUERY,
            ttl=request["ttl"],
            group_id=request["group"],
        )
        (message_id,) = grid.push_messages([message])
        return Frame(content={"id": message_id})
    replies: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for reply in grid.pull_messages(request["ids"]):
        described, own = _describe(reply, limit=request["limit"])
        replies.append(described)
        blobs += own
    return Frame(content={"replies": replies}, blobs=blobs)


def _describe(reply: Message, *, limit: int) -> tuple[dict[str, Any], list[bytes]]:
    known = {"id": reply.metadata.reply_to_message_id, "node": reply.metadata.src_node_id}
    if reply.has_error():
        return {**known, "error": f"Flower: {reply.error.reason or reply.error.code}"}, []
    try:
        frame = from_record(reply.content, limit=limit)
    except WireError as error:
        return {**known, "refused": str(error)}, []
    return {**known, "message": frame.content, "blobs": len(frame.blobs)}, list(frame.blobs)


app = ServerApp()
app.main()(serve_requests)
