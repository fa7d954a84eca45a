"""One process at a time in a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fedtt.errors import RunError
from fedtt.run_place import LOCK

# Seconds: whoever lists runs holds each for an instant, to see whether it is free.
LISTED = 0.25


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the directory for the duration of the block; a dead process holds nothing.

    Raises :class:`RunError` if another process, or another run in this one, holds the directory.
    """
    with locked_if_free(path, wait=LISTED) as free:
        if not free:
            raise RunError(
                "another process is running this run",
                where=str(path),
                fix="wait for it or stop it; --run DIR starts another run",
            )
        yield


@contextmanager
def locked_if_free(path: Path, *, wait: float = 0) -> Iterator[bool]:
    """Like :func:`locked`, but says whether it holds the directory instead of raising, after
    ``wait`` seconds of trying.

    The lock is the operating system's, on a file that may stay behind. Where the system or the
    file system knows no such locks, the block runs unlocked.
    """
    lock = FileLock(path / LOCK, timeout=wait, poll_interval=0.01)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except NotImplementedError:
        yield True
        return
    except OSError as error:
        raise RunError("cannot write the run directory", where=str(path), got=error) from error
    try:
        yield True
    finally:
        lock.release()
