"""Files are replaced whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

EVERYBODY = 0o666  # less what the process's umask takes away


def replace_file(path: Path, content: bytes, *, mode: int = EVERYBODY) -> None:
    """Put ``content`` into the file at ``path``; see :func:`replaced_file`."""
    with replaced_file(path, mode=mode) as file:
        file.write(content)


def name_beside(path: Path, *, suffix: str = "tmp") -> Path:
    """A hidden place beside ``path`` that nothing of anybody's is at."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{suffix}")


@contextmanager
def replaced_file(path: Path, *, mode: int = EVERYBODY) -> Iterator[IO[bytes]]:
    """What the block writes is the file at ``path`` once it ends: whoever reads it, and whatever
    crashes, finds the old file or the new one.

    Nobody whom ``mode`` excludes can read it at any moment. Raises :class:`OSError`, and leaves
    nothing beside the file then, nor where the block fails.
    """
    beside = name_beside(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(beside, flags, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:  # an interrupt, too
        beside.unlink(missing_ok=True)
        raise
