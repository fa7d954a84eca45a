"""``fedtt`` commands as real processes, watched through what they write; all are ended by id."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE = 240.0  # the machine may be busy with other things


def wait_until(condition: Callable[[], bool], *, what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def write_own_files(reviews: Path, folder: Path) -> dict[str, Path]:
    """The reviews, a file a client, as they lie at the sites; no column says whose they are."""
    rows_of: dict[str, list[dict]] = {}
    for row in map(json.loads, reviews.read_text().splitlines()):
        rows_of.setdefault(row.pop("client"), []).append(row)
    files = {}
    for name, rows in rows_of.items():
        files[name] = folder / f"{name}-data.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Command:
    """A ``fedtt`` command that runs; its output is in ``log``."""

    def __init__(self, *arguments: str, log: Path, argv: list[str] | None = None) -> None:
        self.log = log
        command = argv or [sys.executable, "-m", "fedtt"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
        self.seen: set[int] = set()
        self.homes: set[str] = set()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, times: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() in (None, 0), self.output[-3000:]
            return self.output.count(text) >= times

        wait_until(said, what=f"{text!r} x {times} in {self.log}:\n{self.output[-2000:]}")

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def family(self) -> set[int]:
        """The processes that it started, and theirs; remembered, as orphans change parents."""
        self.seen |= descendants(self.process.pid)
        for pid in self.seen:
            with contextlib.suppress(OSError):
                self.homes |= homes_in(Path(f"/proc/{pid}/environ"))
        self.seen |= of_flower_home(self.homes)
        return self.seen


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found |= {child} | descendants(child)
    return found


def of_flower_home(homes: set[str]) -> set[int]:
    """Processes whose environment names one of these homes of Flower: orphans too."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if homes & homes_in(place):
                found.add(int(place.parent.name))
    return found


def homes_in(environ: Path) -> set[str]:
    values = environ.read_bytes().split(b"\0")
    return {v.decode(errors="replace") for v in values if v.startswith(b"FLWR_HOME=")}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def all_gone(pids: set[int], *, seconds: float = 120.0) -> None:
    def gone() -> bool:
        return not any(map(is_running, pids))

    wait_until(gone, what=f"the end of {[p for p in pids if is_running(p)]}", seconds=seconds)


@contextlib.contextmanager
def commands() -> Iterator[list[Command]]:
    """A list whose commands, and all that they started, are ended at the end."""
    started: list[Command] = []
    try:
        yield started
    finally:
        families = set()
        for command in started:
            families |= {command.process.pid, *command.family()}
        for command in started:
            if command.process.poll() is None:
                command.process.terminate()
        for command in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.process.wait(30)
        for pid in families:
            if is_running(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for command in started:
            command.process.wait(10)


def rounds_of(run: Path) -> list[dict]:
    path = run / "rounds.jsonl"
    if not path.exists():
        return []
    *lines, _ = path.read_text().split("\n")
    return [json.loads(line) for line in lines]


class Wire:
    """A way to a port of this machine that can be cut: new connections are refused, old ones go."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = free_port()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                sink.sendall(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source}
        source.close()
