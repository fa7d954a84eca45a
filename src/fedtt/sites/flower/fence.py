"""The fence: what other machines reach instead of Flower's SuperLink.

A process of its own, which imports no torch. It listens on the public address, ends TLS there, and
passes to the SuperLink, which listens on loopback only, what :mod:`fedtt.sites.flower.fence_rules`
allows. Every refusal is a line of JSON on stderr.
"""

import argparse
import asyncio
import os
import signal
import socket
import ssl
import sys
from functools import partial
from pathlib import Path

import h11

from fedtt.errors import FedttError
from fedtt.sites.address import Address, parse_address
from fedtt.sites.flower.fence_hall import Hall, Reporter
from fedtt.sites.flower.fence_relay import HEAD_BYTES, PIECE, Relay, Report, Side
from fedtt.sites.flower.fence_rules import Gate, Refusal
from fedtt.sites.flower.process_ending import starter
from fedtt.sites.keys import ServerKeys, load_server_keys, public_key_pem
from fedtt.sites.ports import listen

HANDSHAKE, GOODBYE = 10.0, 2.0  # seconds of TLS
NOT_HTTP = b"HTTP/1.1 400 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
LOOK = 1.0  # seconds between two looks for the parent process


def fence_command(
    *, door: socket.socket, superlink: Address, keys: Path | None, max_bytes: int
) -> list[str]:
    """The command of a fence before ``superlink``, with the server's ``keys``.

    It listens on the bound socket ``door``, which it has to inherit.

    It is ready when it accepts a connection, and ends on SIGTERM. ``max_bytes`` is what one reply
    of a site may weigh.
    """
    command = [sys.executable, "-m", "fedtt.sites.flower.fence"]
    command += ["--door", str(door.fileno()), "--superlink", str(superlink)]
    command += ["--max-bytes", str(max_bytes)]
    return command if keys is None else [*command, "--keys", str(keys.resolve())]


async def run_fence(
    door: socket.socket, superlink: Address, *, keys: ServerKeys | None, max_bytes: int
) -> None:
    """Let requests through from the bound socket ``door``, until cancelled."""
    owners = None if keys is None else {public_key_pem(p): name for name, p in keys.nodes.items()}
    relay = Relay(
        gate=Gate(sites=owners, max_bytes=max_bytes),
        superlink=superlink,
        tls=None if keys is None else ssl.create_default_context(cafile=str(keys.ca)),
    )
    outside = None if keys is None else _server_context(keys)
    hall, reporter = Hall(), Reporter()
    loop = asyncio.get_running_loop()
    with door:
        listen(door)
        try:
            while True:
                # Let others work, the last visitor first of all: accepting need not wait.
                await asyncio.sleep(0)
                try:
                    connection, peer = await loop.sock_accept(door)
                except OSError:  # no descriptor is left: some connection has to end first
                    await asyncio.sleep(0.1)
                    continue
                if not hall.has_room(peer[0]):
                    connection.close()
                    continue
                report = partial(reporter, peer[0])
                visit = _visit(relay, hall, report, connection=connection, tls=outside)
                hall.enter(loop.create_task(visit), peer[0])
        finally:
            await hall.clear()


async def _visit(
    relay: Relay,
    hall: Hall,
    report: Report,
    *,
    connection: socket.socket,
    tls: ssl.SSLContext | None,
) -> None:
    """Serve one connection; whatever it does wrong ends with it."""
    task = asyncio.current_task()
    try:
        client = await _open(connection, tls)
    except ssl.SSLError as error:
        report(Refusal(0, f"no TLS: {error.reason}"), b"")
        return
    except OSError:  # gone, or too slow
        return
    try:
        await relay.serve(client, welcome=partial(hall.welcome, task), report=report)
        client.writer.close()
    except h11.ProtocolError as error:
        report(Refusal(400, f"not HTTP: {error}"), b"")
        client.writer.write(NOT_HTTP)  # whoever speaks TLS to a fence without sees that it has none
        client.writer.close()
    except OSError:  # gone, or too slow
        pass
    finally:
        if not client.writer.is_closing():
            client.writer.transport.abort()


async def _open(connection: socket.socket, tls: ssl.SSLContext | None) -> Side:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=PIECE, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        connection,
        ssl=tls,
        ssl_handshake_timeout=None if tls is None else HANDSHAKE,
        ssl_shutdown_timeout=None if tls is None else GOODBYE,
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    return Side(reader=reader, writer=writer, http=http)


def _server_context(keys: ServerKeys) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(keys.certificate, keys.key)
    return context


async def _until_told(work: asyncio.Task[None]) -> None:
    """SIGTERM, Ctrl-C and the end of whoever started this process end the work."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    parent = starter()
    while not work.done():
        await asyncio.wait([work], timeout=LOOK)
        if os.getppid() != parent:
            work.cancel()
    if not work.cancelled():
        work.result()


async def _main(arguments: argparse.Namespace) -> None:
    keys = None if arguments.keys is None else load_server_keys(arguments.keys)
    superlink = parse_address(arguments.superlink, where="--superlink")
    door = socket.socket(fileno=arguments.door)
    fence = run_fence(door, superlink, keys=keys, max_bytes=arguments.max_bytes)
    await _until_told(asyncio.create_task(fence))


def main() -> int:
    """The process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="fence")
    parser.add_argument("--superlink", required=True)
    for name in ("--door", "--max-bytes"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--keys", type=Path)
    try:
        asyncio.run(_main(parser.parse_args()))
    except FedttError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
