"""Flower's server app: does with Flower's grid what ``fedtt serve`` asks over a unix socket.

The run itself, with torch, is in the process of ``fedtt serve``; this one only carries messages.
"""

import os
import random
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx
from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from fedtt.errors import WireError
from fedtt.sites.flower.flower_message import QUERY, to_record, unread
from fedtt.sites.flower.process_ending import end_soon, end_with_parent
from fedtt.sites.flower.pull_pace import pull_soon
from fedtt.sites.flower.relay import MAX_TEXT
from fedtt.sites.frames import (
    OWN_LIMIT,
    SERVE_SOCKET,
    Frame,
    receive_frame,
    send_frame,
)
from fedtt.sites.peer_text import quote_peer

LOOKS_AT_ONCE = 32
ENOUGH = 2**24  # bytes of replies in one answer: the next ones come with the next
PATIENCE = 1.0  # seconds for replies that are there
FORGOTTEN = 600.0  # seconds: a reply that nobody has asked for in that time is thrown away


def serve_requests(grid: Grid, _context: Context) -> None:
    """Until the other end is gone: one answer a request."""
    end_with_parent()
    pull_soon()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.environ[SERVE_SOCKET])
        mailbox = Mailbox(grid)
        while True:
            try:
                asked = receive_frame(connection, limit=OWN_LIMIT)
                send_frame(connection, handle(grid, mailbox, asked))
            except OSError:
                end_soon()
                return


class Mailbox:
    """Pulls every reply in a thread of its own.

    Flower waits for what a node has announced and not sent yet, for two hours if it never does.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._running: dict[str, threading.Thread] = {}
        self._found: dict[str, Message] = {}  # the reply to each message
        self._asked: dict[str, float] = {}  # message -> when its reply was last asked for

    def pull(self, message_ids: Sequence[str]) -> list[Message]:
        """The replies to these messages that are there."""
        now = time.monotonic()
        self._asked = {i: at for i, at in self._asked.items() if now - at < FORGOTTEN}
        self._asked |= dict.fromkeys(message_ids, now)
        self._running = {i: thread for i, thread in self._running.items() if thread.is_alive()}
        # Not what is here already: Flower gives a reply away once, and then says there is none.
        idle = [i for i in message_ids if i not in self._running and i not in self._found]
        started = {
            message_id: threading.Thread(target=self._look, args=(message_id,), daemon=True)
            for message_id in random.sample(idle, min(len(idle), LOOKS_AT_ONCE))
        }
        for thread in started.values():
            thread.start()
        until = time.monotonic() + PATIENCE
        for thread in started.values():
            thread.join(max(0.0, until - time.monotonic()))
        self._running |= started
        # By age, and not by number: of many sites, each is asked for in its turn.
        for forgotten in [i for i in list(self._found) if i not in self._asked]:
            self._found.pop(forgotten, None)
        return [self._found.pop(i) for i in message_ids if i in self._found]

    def give_back(self, replies: Sequence[Message]) -> None:
        """To be pulled again."""
        self._found |= {reply.metadata.reply_to_message_id: reply for reply in replies}

    def _look(self, message_id: str) -> None:
        with suppress(httpx.HTTPError):  # fedtt serve sees by itself where the SuperLink is gone
            for reply in self._grid.pull_messages([message_id]):
                self._found[message_id] = reply


def handle(grid: Grid, mailbox: Mailbox, asked: Frame) -> Frame:
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
    pulled = mailbox.pull(request["ids"])
    for index, reply in enumerate(pulled):
        described, own = _describe(reply, limit=request["limit"])
        replies.append(described)
        blobs += own
        if sum(map(len, blobs)) > ENOUGH:
            mailbox.give_back(pulled[index + 1 :])
            break
    return Frame(content={"replies": replies}, blobs=blobs)


def _describe(reply: Message, *, limit: int) -> tuple[dict[str, Any], list[bytes]]:
    """What a frame says of the reply, and its blobs: first the text, which is not read here.

    Whatever a site writes, the frame that has the replies of all can be written.
    """
    known = {"id": reply.metadata.reply_to_message_id, "node": reply.metadata.src_node_id}
    if reply.has_error():
        why = quote_peer(f"Flower: {reply.error.reason or reply.error.code}")
        return {**known, "error": why}, []
    try:
        text, blobs = unread(reply.content, limit=limit, max_text=MAX_TEXT)
    except WireError as error:
        return {**known, "refused": quote_peer(error)}, []
    return {**known, "blobs": 1 + len(blobs)}, [text, *blobs]


app = ServerApp()
app.main()(serve_requests)
