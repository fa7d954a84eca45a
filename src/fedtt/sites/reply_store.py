"""Where the replies of a round lie until the round takes them: on disk, not all in memory."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from fedtt.errors import SitesError

IN_MEMORY = 2**24  # bytes; beyond that they go to a file without a name


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where one update lies."""

    start: int
    size: int


class ReplyStore:
    """Updates by where they lie, until the block ends; a full disk is a :class:`SitesError`."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def keep(self, blobs: Sequence[bytes]) -> list[Stored]:
        """Where each of them lies from now on."""
        places = []
        try:
            self._file.seek(self._end)
            for blob in blobs:
                self._file.write(blob)
                places.append(Stored(start=self._end, size=len(blob)))
                self._end += len(blob)
        except OSError as error:
            raise SitesError(
                "the replies of a round cannot be kept",
                where=tempfile.gettempdir(),
                got=error,
                fix="make room there, or set TMPDIR to another place",
            ) from error
        return places

    def take(self, place: Stored) -> bytes:
        """What lies there."""
        self._file.seek(place.start)
        return self._file.read(place.size)
