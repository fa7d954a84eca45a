"""``rounds.jsonl`` read as it grows: every record once, and none is kept."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fedtt.errors import RunError
from fedtt.experiment.run_files import Record, damaged_file, read_record
from fedtt.run_place import ROUNDS
from fedtt.strict_json import parse_json


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
        self._lacks_end = False  # of the last line that was read; a line end may still come

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
        """The records that came since; a last line that is not whole yet is left for later, and one
        that lacks its line end alone (as editors save it) is whole.

        Raises :class:`RunError` for a line that is not the record of its round, and again until the
        file is another.
        """
        try:
            if self._file is None:
                self._file = self._path.open("rb")
            self._file.seek(self._read)
            for line in self._file:
                lacked, self._lacks_end = self._lacks_end, not line.endswith(b"\n")
                if self._lacks_end and not is_whole(line):
                    self._lacks_end = lacked
                    break
                if lacked and line == b"\n":
                    self._read += 1
                    continue
                record = self._record(line.removesuffix(b"\n"))
                self._read += len(line)
                self._next += 1
                yield record
        except FileNotFoundError:
            return
        except RunError:  # an OSError, which has said already what it is
            raise
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


def is_whole(line: bytes) -> bool:
    """Whether a line without its end is one to which nothing else is missing."""
    try:
        parse_json(line)
    except ValueError:
        return False
    return True


def count_records(run: Path) -> int:
    """How many there are, by their lines alone. Raises :class:`RunError`."""
    path = run / ROUNDS
    try:
        with path.open("rb") as file:
            return sum(line.endswith(b"\n") or is_whole(line) for line in file)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise damaged_file(path, error) from error


def read_rounds(run: Path) -> Iterator[Record]:
    """The records so far; a last line that a crash cut short is left out.

    Raises :class:`RunError` for a line that is not the record of its round.
    """
    tail = RoundTail(run)
    try:
        yield from tail.read()
    finally:
        tail.close()
