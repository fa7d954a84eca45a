"""Processes that this one starts, and stops by their id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedtt.engine.flower.ending import STARTER
from fedtt.errors import FedttError

GRACE = 15.0  # seconds to end by itself, before it is killed
TAIL = 2000


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process that was started; ``log`` holds what it writes."""

    what: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self) -> str:
        """The end of what it wrote."""
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


def start(what: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Child:
    """Start a process in a group of its own: a Ctrl-C of the terminal is not for it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**env, STARTER: str(os.getpid())},
            start_new_session=True,
        )
    return Child(what=what, process=process, log=log)


def launch(kind: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str]) -> Child:
    """Start a SuperLink or a SuperNode."""
    argv = [sys.executable, "-m", "fedtt.engine.flower.launch", kind, *arguments]
    return start(kind, argv, log=log, env=env)


def flower_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of Flower's processes: private files, no calls home, our commands found."""
    here = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for_port(child: Child, *, host: str, port: int, patience: float) -> None:
    """Wait until the child accepts connections.

    Raises :class:`FedttError` with the end of its log if it ends, or takes too long.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and child.alive:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise FedttError(
        f"{child.what} did not start" if child.alive else f"{child.what} ended at once",
        where=f"{host}:{port}",
        got=child.tail() or "no output",
        fix="is the port in use?",
    )
