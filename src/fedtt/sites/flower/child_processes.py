"""Processes that this one starts, and stops by their id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedtt.errors import FedttError
from fedtt.sites.address import Address
from fedtt.sites.bounded_log import BoundedLog
from fedtt.sites.flower.process_ending import STARTER
from fedtt.sites.ports import BoundPort

GRACE = 15.0  # seconds to end by itself, before it is killed
TAIL = 2000
LAST_WORDS = 2.0  # seconds for what it said to be written


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process that was started; ``log`` holds what it writes, as far as that is bounded."""

    what: str
    process: subprocess.Popen[bytes]
    output: BoundedLog

    @property
    def log(self) -> Path:
        """Where it can be read."""
        return self.output.path

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self) -> str:
        """The end of what it wrote."""
        if not self.alive:
            self.output.wait(LAST_WORDS)
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
        except OSError:
            return ""

    def stop(self) -> None:
        """Ask it to end, wait, and kill whatever is left of its group."""
        if self.alive:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.wait(LAST_WORDS)


def start(
    what: str,
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    doors: Collection[socket.socket] = (),
) -> Child:
    """Start a process in a group of its own: a Ctrl-C of the terminal is not for it.

    It inherits ``doors``, by their numbers.
    """
    log.open("ab").close()  # raises here, and not in a thread, where it cannot be written
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**env, STARTER: str(os.getpid())},
        start_new_session=True,
        pass_fds=[door.fileno() for door in doors],
    )
    if process.stdout is None:
        raise AssertionError("it was asked for")
    return Child(what=what, process=process, output=BoundedLog(log, process.stdout))


def launch(
    kind: str, arguments: Sequence[str], *, port: BoundPort, log: Path, env: Mapping[str, str]
) -> Child:
    """Start a SuperLink or a SuperNode, which listens on that port."""
    argv = [sys.executable, "-m", "fedtt.sites.flower.launch", kind, str(port.door.fileno())]
    argv += [*arguments, "--host", port.address.host, "--port", str(port.address.port)]
    return start(kind, argv, log=log, env=env, doors=[port.door])


def wait_for_port(child: Child, address: Address, *, patience: float) -> None:
    """Wait until the child accepts connections.

    Raises :class:`FedttError` with the end of its log if it ends, or takes too long.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and child.alive:
        try:
            socket.create_connection((address.host, address.port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise FedttError(
        f"{child.what} did not start" if child.alive else f"{child.what} ended at once",
        where=str(address),
        got=child.tail() or "no output",
        fix=f"see {child.log}",
    )
