"""A server on this machine's own address, and a thread that looks at the run for it."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from fedtt.errors import FedttError
from fedtt.live.answering import Answering
from fedtt.live.followed_run import FollowedRun, Sight, check_watchable, troubled, waiting_page
from fedtt.live.newest_sight import NewestSight
from fedtt.report.drawing_code import drawing_code

HOST = "127.0.0.1"
MOST_STREAMS = 16
MOST_CONNECTIONS = 64
INTERVAL = 1.0  # seconds between two looks, or more: those of a long run may take a tenth of a core
BUSY = 10.0
LAST_LOOK = 2.0  # seconds for the one that is under way at the end
Connection = socket.socket


class PageServer(ThreadingHTTPServer):
    """Serves the newest sight of a run until :meth:`shutdown`."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.newest, self.over = NewestSight(), threading.Event()
        self.streams = threading.BoundedSemaphore(MOST_STREAMS)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        try:
            super().__init__((HOST, port), Answering)
        except OSError as error:
            raise FedttError(
                "cannot serve there",
                where=f"{HOST}:{port}",
                got=error.strerror or error,
                fix="give another --port; 0, the default, takes a free one",
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        """What a browser is given."""
        return f"http://{HOST}:{self.port}/"

    def server_bind(self) -> None:
        """Without asking the network what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.port

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own; one too many is hung up on."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up, or says nothing, is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def serving(path: Path, *, port: int = 0, interval: float = INTERVAL) -> Iterator[PageServer]:
    """A server of the run's page for the duration of the block, in which somebody has to call
    ``serve_forever``; ``port`` 0 is a free one.

    Raises :class:`RunError` where no run is or can come, :class:`MissingReportError` without the
    extra, :class:`FedttError` for a port that is taken.
    """
    check_watchable(path)
    drawing_code()
    with PageServer(port) as server:
        follower = threading.Thread(
            target=_follow, args=(path, server.newest, server.over, interval), daemon=True
        )
        follower.start()
        try:
            yield server
        finally:
            server.over.set()  # ends what listens, too
            follower.join(timeout=LAST_LOOK)


def _follow(path: Path, newest: NewestSight, over: threading.Event, interval: float) -> None:
    followed = FollowedRun(path)
    last = Sight(state="waiting", page=waiting_page(path), rounds=0)
    while not over.is_set():
        begun = time.monotonic()
        seen = _look(followed, last)
        if seen is not None:
            newest.put(seen)
            last = seen
        over.wait(max(interval, BUSY * (time.monotonic() - begun)))
    followed.close()


def _look(followed: FollowedRun, last: Sight) -> Sight | None:
    """None where there is nothing new. What cannot be read leaves the last page, with a word."""
    try:
        return followed.look()
    except FedttError as error:
        problem = troubled(error)
    except Exception as error:  # a page that stands still without a word would be worse
        problem = f"What is shown may be old: {type(error).__name__}: {error}"
    return None if problem == last.problem else replace(last, problem=problem)
