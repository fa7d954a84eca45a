"""One connection through the fence: HTTP/1.1 on both sides, bodies passed on piece by piece.

A request is taken apart and made anew, so that both sides read the same one.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import h11

from fedtt.sites.address import Address
from fedtt.sites.flower.fence_rules import (
    RETURNED,
    TREE,
    Account,
    Admission,
    Gate,
    Refusal,
)

PIECE = 2**16
HEAD_BYTES = 2**14
# Seconds: for a whole head, between two requests, for the next piece, for the SuperLink to answer,
# for one exchange in all, for a refused sender to read why.
HEAD, IDLE, NEXT, ANSWER, WHOLE, LINGER = 10.0, 75.0, 60.0, 120.0, 900.0, 2.0
Report = Callable[[Refusal, bytes], None]  # with the path


@dataclass(kw_only=True)
class Side:
    """HTTP/1.1 over a stream, with whoever is at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection

    async def event(self, *, seconds: float) -> Any:
        """What comes next. Raises ``TimeoutError``, ``OSError``, :class:`h11.ProtocolError`."""
        async with asyncio.timeout(seconds):
            while (event := self.http.next_event()) is h11.NEED_DATA:
                self.http.receive_data(await self.reader.read(PIECE))
        return event

    async def send(self, event: Any) -> None:
        """Raises like :meth:`event`."""
        data = self.http.send(event)
        if data:
            self.writer.write(data)
            async with asyncio.timeout(NEXT):
                await self.writer.drain()


@dataclass(frozen=True, kw_only=True)
class Relay:
    """Who decides on requests, and where they go."""

    gate: Gate
    superlink: Address
    tls: ssl.SSLContext | None

    async def serve(
        self, client: Side, *, welcome: Callable[[Account], None], report: Report
    ) -> None:
        """Requests of one connection until it ends; ``welcome`` hears of every one that may pass.

        Raises what :class:`Side` raises.
        """
        patience = HEAD
        while isinstance(request := await client.event(seconds=patience), h11.Request):
            try:
                headers = list(request.headers)
                admission = self.gate.admit(request.method, request.target, headers)
                welcome(admission.account)
                async with asyncio.timeout(WHOLE):
                    await self._exchange(client, admission)
            except Refusal as refusal:
                report(refusal, request.target)
                await _refuse(client, refusal)
                return
            if client.http.our_state is not h11.DONE or client.http.their_state is not h11.DONE:
                return
            client.http.start_next_cycle()
            patience = IDLE

    async def _exchange(self, client: Side, admission: Admission) -> None:
        async with admission.account.turn:
            reply_to, body = None, b""
            if admission.is_reply:
                body = await _read(client, most=admission.size)
                reply_to = self.gate.check_reply(admission, body)
            arrived = False
            try:
                server = await self._connect()
                with closing(server.writer):
                    await server.send(self._request(admission))
                    if reply_to is None:
                        await _pass_on(client, server)
                    else:
                        await _send_all(server, body)
                    answer = await server.event(seconds=ANSWER)
                    if not isinstance(answer, h11.Response):
                        raise ConnectionError("the SuperLink closed the connection")
                    arrived = True
                    await self._answer(client, server, answer, admission, reply_to)
            finally:
                if not arrived:
                    self.gate.give_back(admission)

    def _request(self, admission: Admission) -> h11.Request:
        headers = [
            (b"host", str(self.superlink).encode()),
            (b"content-length", str(admission.size).encode()),
            (b"connection", b"close"),
            *admission.headers,
        ]
        return h11.Request(method=b"POST", target=admission.target, headers=headers)

    async def _connect(self) -> Side:
        host, port = self.superlink.host, self.superlink.port
        try:
            async with asyncio.timeout(ANSWER):
                reader, writer = await asyncio.open_connection(host, port, ssl=self.tls)
        except OSError as error:
            raise Refusal(503, "the SuperLink does not answer") from error
        return Side(reader=reader, writer=writer, http=h11.Connection(h11.CLIENT))

    async def _answer(
        self,
        client: Side,
        server: Side,
        answer: h11.Response,
        admission: Admission,
        reply_to: str | None,
    ) -> None:
        returned = [(name, value) for name, value in answer.headers if name in RETURNED]
        head = h11.Response(status_code=answer.status_code, headers=returned)
        if reply_to is None:
            await client.send(head)
            await _pass_on(server, client)
            return
        content = await _read(server, most=TREE)
        if answer.status_code == 200:  # before the site hears of it, and sends the content
            self.gate.grant(admission.account, reply_to, content)
        await client.send(head)
        await _send_all(client, content)


async def _send_all(sink: Side, content: bytes) -> None:
    await sink.send(h11.Data(data=content))
    await sink.send(h11.EndOfMessage())


async def _pass_on(source: Side, sink: Side) -> None:
    while isinstance(event := await source.event(seconds=NEXT), h11.Data):
        await sink.send(h11.Data(data=bytes(event.data)))
    if not isinstance(event, h11.EndOfMessage):
        raise ConnectionError("a message ended early")
    await sink.send(h11.EndOfMessage())


async def _read(source: Side, *, most: int) -> bytes:
    content = bytearray()
    while isinstance(event := await source.event(seconds=NEXT), h11.Data):
        content += event.data
        if len(content) > most:
            raise ConnectionError("a message larger than allowed")
    if not isinstance(event, h11.EndOfMessage):
        raise ConnectionError("a message ended early")
    return bytes(content)


async def _refuse(client: Side, refusal: Refusal) -> None:
    """Say why, and read on for a moment: what is closed on unread data may not arrive."""
    if client.http.our_state is not h11.SEND_RESPONSE:
        return
    # A code is an integer for Flower's SuperNode to show the detail at all.
    body = json.dumps({"code": refusal.code or 0, "detail": refusal.reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await client.send(h11.Response(status_code=refusal.status, headers=headers))
    await _send_all(client, body)
    if client.writer.can_write_eof():
        client.writer.write_eof()
    async with asyncio.timeout(LINGER):
        while await client.reader.read(PIECE):
            pass
