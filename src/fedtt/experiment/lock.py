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
    with locked_if_free(path) as free:
        if not free:
            raise RunError(
                "another process is running this run",
                where=str(path),
                fix="wait for it or stop it; --run DIR starts another run",
            )
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Like :func:`locked`, but says whether it holds the directory instead of raising."""
    try:
        file = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RunError("cannot write the run directory", where=str(path), got=error) from error
    try:
        yield _lock(file)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    if not SUPPORTED:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
