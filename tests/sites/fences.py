"""Keys, signed requests, and a fence that runs in a thread before a SuperLink that only records."""

import asyncio
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h11
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
)
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.node_pb2 import Node

from fedtt.sites.address import Address
from fedtt.sites.flower.fence import run_fence
from fedtt.sites.keys import load_server_keys
from fedtt.sites.ports import any_port, bind_port

HERE = "127.0.0.1"
NODE = 77
Headers = dict[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A site's private key; signs as Flower's SuperNode does."""

    key: ec.EllipticCurvePrivateKey

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def headers(
        self, *, size: int = 0, age: float = 0.0, signer: "Signer | None" = None
    ) -> Headers:
        stamp = (datetime.now(UTC) - timedelta(seconds=age)).isoformat().encode()
        signature = (signer or self).key.sign(stamp, ec.ECDSA(hashes.SHA256()))
        return {
            b"host": b"federation",
            b"content-type": b"application/x-protobuf",
            b"content-length": str(size).encode(),
            b"flwr-public-key": b64encode(self.public),
            b"flwr-timestamp": stamp,
            b"flwr-signature": b64encode(signature),
        }


def new_signer() -> Signer:
    return Signer(key=ec.generate_private_key(ec.SECP384R1()))


def signer_of(bundle: Path) -> Signer:
    key = load_ssh_private_key((bundle / "node.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Signer(key=key)


def reply(*, node: int = NODE, source: int = NODE, answers: str = "instruction") -> bytes:
    """What a SuperNode pushes for the instruction with that id."""
    metadata = Metadata(src_node_id=source, dst_node_id=1, reply_to_message_id=answers)
    request = PushMessagesRequest(
        node=Node(node_id=node),
        messages_list=[Message(metadata=metadata)],
        message_object_trees=[ObjectTree(object_id="root")],
    )
    content: bytes = request.SerializeToString()
    return content


def taken(*objects: str) -> bytes:
    """The SuperLink's answer to a reply whose content it wants."""
    content: bytes = PushMessagesResponse(
        objects_to_push=objects, session_id="session"
    ).SerializeToString()
    return content


@dataclass(kw_only=True)
class SuperLink:
    """Answers every request with ``answer``; ``seen`` are target, headers and body of each."""

    answer: bytes = b"fine"
    status: int = 200
    port: int = 0
    seen: list[tuple[bytes, Headers, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        body, request = b"", None
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                writer.close()
                return
        assert request is not None
        self.seen.append((request.target, dict(request.headers), body))
        headers = [("content-length", str(len(self.answer))), ("server", "secret")]
        writer.write(http.send(h11.Response(status_code=self.status, headers=headers)))
        writer.write(http.send(h11.Data(data=self.answer)) + http.send(h11.EndOfMessage()))
        await writer.drain()
        writer.close()


@contextmanager
def running_fence(
    *, keys: Path | None, max_bytes: int = 1000, superlink: SuperLink | None
) -> Iterator[Address]:
    """A fence on a free port; None: nothing listens behind it. Without ``keys`` nothing is TLS."""
    loop = asyncio.new_event_loop()
    ready, fences = threading.Event(), []

    async def run() -> None:
        port = 1  # nobody listens there
        server_keys = None if keys is None else load_server_keys(keys)
        context = None
        if superlink is not None:
            if keys is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(keys / "server/server.crt", keys / "server/server.key")
            server = await asyncio.start_server(superlink.serve, HERE, 0, ssl=context)
            port = superlink.port = server.sockets[0].getsockname()[1]
        fence = asyncio.create_task(
            run_fence(
                door.door, Address(host=HERE, port=port), keys=server_keys, max_bytes=max_bytes
            )
        )
        fences.append(fence)
        await asyncio.sleep(0)
        ready.set()
        await asyncio.wait([fence])
        if superlink is not None:
            server.close()
            await server.wait_closed()

    with bind_port(any_port()) as door:
        thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
        thread.start()
        assert ready.wait(30)
        try:
            yield door.address
        finally:
            loop.call_soon_threadsafe(fences[0].cancel)
            thread.join(30)
            loop.close()
            assert not thread.is_alive()


def head(target: bytes, headers: Headers, *, method: bytes = b"POST") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", b""])


def say(address: Address, *pieces: bytes, seconds: float = 30.0) -> bytes:
    """Send bytes as they are, and what comes back until the other end closes, or has answered."""
    answer = b""
    with (
        socket.create_connection((address.host, address.port), timeout=seconds) as connection,
        suppress(ConnectionResetError, BrokenPipeError),  # closed on what it has not read
    ):
        for piece in pieces:
            connection.sendall(piece)
        while piece := connection.recv(65536):
            answer += piece
            if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                size = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if len(answer.split(b"\r\n\r\n", 1)[1]) >= size:
                    break
    return answer
