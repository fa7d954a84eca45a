"""Files are replaced whole or not at all, and what is written outlasts a power cut."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    _keep_names(path.parent)


def append_to_file(path: Path, content: bytes) -> None:
    """Add ``content`` to the file at ``path``, which may be new; what is written later is never on
    disk without it. Raises :class:`OSError`.
    """
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _keep_names(path.parent)


def open_to_all(folder: Path) -> None:
    """Give the files of ``folder``, which this process made, the mode that its umask leaves them:
    safetensors makes its files for their owner alone. Raises :class:`OSError`.
    """
    mode = folder.stat().st_mode & EVERYBODY  # the umask can be read nowhere without changing it
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def _keep_names(folder: Path) -> None:
    """Have the names in ``folder`` outlast a power cut, where the system and the disk can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no directory
        return
    with suppress(OSError):  # of a disk of the network; the file itself is whole either way
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
