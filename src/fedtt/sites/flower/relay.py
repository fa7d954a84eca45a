"""The server's side of the socket to Flower's server app: who is there, send, what came back."""

import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from fedtt.errors import FedttError, WireError
from fedtt.sites.carrier import CarriedReply
from fedtt.sites.frames import Frame, read_table, receive_frame, send_frame

PATIENCE = 120.0  # seconds for one request: everything but the sites' own work is fast
REPLIES_AT_ONCE = 16
MAX_TEXT = 2**22  # bytes of JSON in a reply: the metrics of ten thousand clients


class Relay:
    """The carrier that is Flower. Raises :class:`FedttError` once its server app is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(PATIENCE)

    def nodes(self) -> Sequence[int]:
        """See :class:`Carrier`."""
        answer = self._ask({"do": "nodes"}, limit=0)
        return [int(node) for node in answer.content["nodes"]]

    def push(self, node: int, frame: Frame, *, seconds: float, group: str) -> str:
        """See :class:`Carrier`."""
        request = {
            "do": "push",
            "node": node,
            "ttl": seconds,
            "group": group,
            "message": frame.content,
        }
        return str(self._ask(request, blobs=frame.blobs, limit=0).content["id"])

    def pull(self, message_ids: Iterable[str], *, limit: int) -> Iterator[CarriedReply]:
        """See :class:`Carrier`."""
        wanted = list(message_ids)
        for start in range(0, len(wanted), REPLIES_AT_ONCE):
            ids = wanted[start : start + REPLIES_AT_ONCE]
            request = {"do": "pull", "ids": ids, "limit": limit}
            yield from _replies(self._ask(request, limit=(limit + MAX_TEXT) * len(ids)))

    def close(self) -> None:
        """Let the server app end, and with it Flower's run."""
        self._connection.close()

    def _ask(self, request: dict[str, Any], *, blobs: Sequence[bytes] = (), limit: int) -> Frame:
        try:
            send_frame(self._connection, Frame(content=request, blobs=blobs))
            return receive_frame(self._connection, limit=limit)
        except (OSError, WireError) as error:
            raise FedttError(
                "Flower's server app is gone",
                got=error,
                fix="fedtt serve --resume RUN goes on from the last finished round",
            ) from error


def _replies(answer: Frame) -> Iterator[CarriedReply]:
    """What each site wrote is read here, one by one: nonsense is that of its site alone."""
    blobs = iter(answer.blobs)
    for described in answer.content["replies"]:
        frame, refused = None, described.get("refused")
        if "blobs" in described:
            text, *own = islice(blobs, described["blobs"])
            try:
                frame = Frame(content=read_table(text), blobs=own)
            except WireError as error:
                refused = str(error)
        yield CarriedReply(
            message_id=described["id"],
            node=described["node"],
            frame=frame,
            error=described.get("error"),
            refused=refused,
        )
