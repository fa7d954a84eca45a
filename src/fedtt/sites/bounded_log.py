"""The log of a process whose lines others can cause: escaped, limited and rotated."""

import re
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

from fedtt.sites.peer_text import escape_line

A_MINUTE = 2**16  # bytes; what Flower says of a run by itself is a tenth of it
LARGEST = 2**22  # bytes of the file; one that is full becomes FILE.1, and the one before is gone
LONGEST = 2000  # characters of a line
LAST = 40  # lines that are kept although there were too many: how it ended
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class BoundedLog:
    """Writes what comes out of ``pipe`` to ``path``, in a thread, until the pipe is closed."""

    def __init__(self, path: Path, pipe: IO[bytes]) -> None:
        self.path = path
        self._pipe = pipe
        self._minute = self._written = self._left_out = 0
        self._last: deque[str] = deque(maxlen=LAST)
        self._size = path.stat().st_size if path.exists() else 0
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until all that was said is written; whoever holds the pipe may keep it open longer."""
        self._thread.join(seconds)

    def _copy(self) -> None:
        with self._pipe:
            while raw := self._pipe.readline(4 * LONGEST):
                text = COLOR.sub("", raw.decode(errors="replace").rstrip("\r\n"))
                self._take(escape_line(text)[:LONGEST])
        self._say_left_out()

    def _take(self, line: str) -> None:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._say_left_out()
            self._minute, self._written = minute, 0
        if self._written + len(line) > A_MINUTE:
            self._left_out += 1
            self._last.append(line)
        else:
            self._write(line)

    def _say_left_out(self) -> None:
        """How many lines are missing, and the last of them."""
        missing = self._left_out - len(self._last)
        if missing > 0:
            self._write(f"... {missing} lines left out, of too many in a minute")
        for line in self._last:
            self._write(line)
        self._left_out = 0
        self._last.clear()

    def _write(self, line: str) -> None:
        data = (line + "\n").encode(errors="backslashreplace")
        self._written += len(data)
        try:
            if self._size + len(data) > LARGEST:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._size = 0
            with self.path.open("ab") as file:
                file.write(data)
            self._size += len(data)
        except OSError:  # a full disk ends no process that only wanted to say something
            return
