"""``rounds.jsonl`` read as it grows: every record once, and none is kept."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fedtt.experiment.run_files import Record, damaged_file, read_record
from fedtt.run_place import ROUNDS


class RoundTail:
    """How far the file was read; what :meth:`read` moves on.

    The file stays open: as long as it is, no other has its number, by which one that replaced it is
    known.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / ROUNDS
        self._file: IO[bytes] | None = None
        self._read = 0  # bytes of whole lines
        self._next = 0  # the round whose record comes next

    def is_stale(self) -> bool:
        """Whether what was read is no longer what the file begins with: it was replaced, cut or
        deleted, as where a run is resumed or begun anew.
        """
        if self._file is None:
            return False
        try:
            ours, now = os.fstat(self._file.fileno()), self._path.stat()
        except OSError:  # on a disk of the network, of the open file, too
            return True
        return (ours.st_dev, ours.st_ino) != (now.st_dev, now.st_ino) or now.st_size < self._read

    def read(self) -> Iterator[Record]:
        """The records that came since; a last line that is not whole yet is left for later.

        Raises :class:`RunError` for a line that is not the record of its round, and again until the
        file is another.
        """
        try:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(self._read)
            for line in self._file:
                if not line.endswith(b"\n"):
                    break
                record = self._record(line[:-1])
                self._read += len(line)
                self._next += 1
                yield record
        except FileNotFoundError:
            return
        except OSError as error:
            raise damaged_file(self._path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _record(self, line: bytes) -> Record:
        try:
            return read_record(line.decode(), index=self._next)
        except ValueError as error:
            raise damaged_file(self._path, f"line {self._next + 1}: {error}") from error


def read_rounds(run: Path) -> Iterator[Record]:
    """The records so far; a last line that a crash cut short is left out.

    Raises :class:`RunError` for a line that is not the record of its round.
    """
    tail = RoundTail(run)
    try:
        yield from tail.read()
    finally:
        tail.close()
