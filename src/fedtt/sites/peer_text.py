"""What others wrote, made fit for a log or a terminal: no control characters, no lines of theirs.

Loads neither torch nor Flower.
"""

import logging
import re
from typing import Any

MOST = 500  # characters of what one peer says at a time
CONTINUED = "\n  | "  # no line of ours begins so
_OWN_LINE = re.compile(r"\n(?!  \| )")  # what is quoted twice looks as quoted once


def quote_peer(text: object, *, most: int = MOST) -> str:
    """What a peer said, short; a line of its own can be told from one of ours."""
    cut = str(text)[:most].strip()
    kept = "".join(c if c.isprintable() or c == "\n" else "?" for c in cut)
    return _OWN_LINE.sub(CONTINUED, kept)


def escape_line(text: str) -> str:
    """One line, whatever the text holds: what cannot be printed as an escape sequence."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def guard_log_messages() -> None:
    """From now on every message that this process logs is one line, and short.

    A site chooses what Flower's SuperLink logs: the hash of the app that it asks for, with line
    breaks and all. Tracebacks keep their lines, indented.
    """

    class Record(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802
            return escape_line(super().getMessage()[:MOST])

    plain = logging.Formatter.formatException

    def indented(self: logging.Formatter, info: Any) -> str:
        return CONTINUED[1:] + CONTINUED.join(plain(self, info).splitlines())

    logging.setLogRecordFactory(Record)
    logging.Formatter.formatException = indented  # type: ignore


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
