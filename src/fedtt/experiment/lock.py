"""One process at a time in a run directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtt.errors import RunError

LOCK = ".lock"

try:
    import fcntl
except ImportError:
    SUPPORTED = False
else:
    SUPPORTED = True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the directory for the duration of the block; a dead process holds nothing.

    The lock is the operating system's (``flock`` on a file that stays behind). Where the system or
    the file system knows no such locks, the block runs unlocked. Raises :class:`RunError` if
    another process, or another run in this one, holds the directory.
    """
    try:
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError("cannot write the run directory", where=str(path), got=error) from error
    try:
        _lock(file, path)
        yield
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    if not SUPPORTED:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            "another process is running this run",
            where=str(path),
            fix="wait for it or stop it; --run DIR starts another run",
        ) from error
    except OSError:
        return
