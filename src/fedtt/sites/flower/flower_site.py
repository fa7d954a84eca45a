"""A site as a process: the warm worker here, and Flower's SuperNode as its child."""

import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from fedtt.errors import InterruptedRunError, SitesError, WireError
from fedtt.sites.address import Address, check_server
from fedtt.sites.flower.app_guard import REFUSED
from fedtt.sites.flower.child_environment import flower_environment
from fedtt.sites.flower.child_processes import Child, launch
from fedtt.sites.flower.key_arguments import supernode_arguments
from fedtt.sites.flower.version import check_flower
from fedtt.sites.frames import OWN_LIMIT, SITE_SOCKET, receive_frame, send_frame
from fedtt.sites.keys import NO_KEY, UNKNOWN_KEY, SiteKeys
from fedtt.sites.ports import any_port, bind_port
from fedtt.sites.site_worker import Worker

LOOK_EVERY = 0.5
LINGER = 3.0  # seconds for the last reply to reach the server
MESSAGE_PATIENCE = 600.0  # seconds for a local process to hand over a message
LONGEST_PAUSE = 10.0
# What a SuperNode says when the fence does not take its key.
REFUSALS = tuple(f"[code: {code}]" for code in (NO_KEY, UNKNOWN_KEY))


class _SuperNode:
    """Keeps a SuperNode running: it ends when the SuperLink does not know it any more."""

    def __init__(self, server: Address, keys: SiteKeys | None, *, home: Path, logs: Path) -> None:
        self._server, self._keys = server, keys
        self._home, self._logs = home, logs
        self._child: Child | None = None
        self._not_before, self._pause = 0.0, 0.5

    def keep_alive(self) -> None:
        """Start it, again if it ended. Raises :class:`SitesError` where the server refused it."""
        if self._child is not None and self._child.alive:
            return
        if self._child is not None:
            self._child.stop()  # what it started may still be there
            self._check_refused(self._child)
        if time.monotonic() < self._not_before:
            return
        ca = None if self._keys is None else self._keys.ca
        check_server(self._server, ca=ca, timeout=10)
        log = self._logs / "supernode.log"
        log.unlink(missing_ok=True)
        arguments = [*supernode_arguments(self._keys), "--superlink", str(self._server)]
        direct = [self._server.host] if self._server.is_loopback else []
        # What forks the client apps leaves a socket behind where it is killed.
        place = {SITE_SOCKET: str(self._home / "site"), "TMPDIR": str(self._home)}
        env = flower_environment(self._home, direct=direct, **place)
        with bind_port(any_port()) as port:
            self._child = launch("supernode", arguments, port=port, log=log, env=env)
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def stop(self) -> None:
        """End it, and whatever it started."""
        if self._child is not None:
            self._child.stop()

    def _check_refused(self, child: Child) -> None:
        tail = child.tail()
        if REFUSED in tail:
            raise SitesError(REFUSED, where=str(self._server), got=tail.partition(REFUSED)[2][:700])
        if any(refusal in tail for refusal in REFUSALS):
            raise SitesError(
                "the server does not take this site's key",
                where=str(self._server),
                got=tail[tail.index("[code: ") :].splitlines()[0],
                fix="use the keys that fedtt keys made for this server",
            )


def join_federation(
    worker: Worker,
    *,
    server: Address,
    keys: SiteKeys | None,
    logs: Path,
    patience: float,
    should_stop: Callable[[], bool],
) -> None:
    """Take part until the server says that the run is over; reconnects by itself.

    Raises :class:`SitesError` where the server refuses the site, or is silent for ``patience``
    seconds, and :class:`InterruptedRunError` once asked to stop. Nothing is left running.
    """
    check_flower()
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="fedtt-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(home / "site"))
        listener.listen()
        listener.settimeout(LOOK_EVERY)
        node = _SuperNode(server, keys, home=home, logs=logs)
        stack.callback(node.stop)
        heard = time.monotonic()
        until: float | None = None
        while until is None or time.monotonic() < until:
            if should_stop():
                raise InterruptedRunError("stopped on request")
            if until is None:
                node.keep_alive()
            if _answer_next(listener, worker):
                heard = time.monotonic()
            elif time.monotonic() - heard > patience:
                raise SitesError(
                    "the server is silent",
                    where=str(server),
                    got=f"no message for {patience:.0f} s",
                    fix="see that it runs and can be reached, and join again",
                )
            if worker.over and until is None:
                until = time.monotonic() + LINGER
    if worker.problem is not None:
        raise worker.problem


def _answer_next(listener: socket.socket, worker: Worker) -> bool:
    """Answer one message, if one comes; whether one came."""
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return False
    with connection:
        connection.settimeout(MESSAGE_PATIENCE)
        # Where Flower's process is gone the server will ask again.
        try:
            asked = receive_frame(connection, limit=OWN_LIMIT)
        except (OSError, WireError):
            return True
        reply = worker.answer(asked)
        with suppress(OSError):
            send_frame(connection, reply)
    return True
