"""Ports that are bound by the process that chooses them, before anything that takes time.

A number that was free a moment ago is anybody's: the socket itself is handed on, bound, to the
process that will listen on it. Until then whoever calls is turned away, as if nobody were there.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fedtt.errors import ConfigError
from fedtt.sites.address import Address

HERE = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class BoundPort:
    """A bound socket that does not listen yet, and where it is."""

    door: socket.socket
    address: Address


@contextmanager
def bind_port(address: Address) -> Iterator[BoundPort]:
    """The port of ``address``, for the duration of the block; port 0: any free one.

    Raises :class:`ConfigError` where it is taken, or not of this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = _bound(family, kind, protocol, place)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            "cannot listen there",
            where=f"--address {address}",
            got=error.strerror or error,
            expected="a free port of this machine",
            fix=f"end what uses port {address.port} (`ss -ltnp`), or give another --address"
            if taken
            else "give an --address of this machine, and a port that its user may use",
        ) from error
    with door:
        port: int = door.getsockname()[1]
        yield BoundPort(door=door, address=Address(host=address.host, port=port))


def any_port() -> Address:
    """To be bound: whichever port of this machine's loopback is free."""
    return Address(host=HERE, port=0)


def _bound(
    family: socket.AddressFamily, kind: socket.SocketKind, protocol: int, place: object
) -> socket.socket:
    """Bound for this process alone; only connections that ended lately may have the port too.

    With SO_REUSEADDR two servers could bind one port, and the second would fail when it listens:
    minutes later. Without, a server that is started again waits for its old connections to be
    forgotten.
    """
    for shared in (False, True):
        door = socket.socket(family, kind, protocol)
        try:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)
            door.bind(place)  # type: ignore[arg-type]
        except OSError as error:
            door.close()
            if shared or error.errno != errno.EADDRINUSE:
                raise
        else:
            return door
    raise AssertionError("the second attempt returned or raised")


def listen(door: socket.socket) -> None:
    """Begin to accept connections; those that end later do not keep the port from being bound."""
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.listen(128)
    door.settimeout(0)
