"""Where output goes: results to stdout, errors to stderr; no colors when it is not a terminal.

Client ids, labels and texts are other people's words: what these consoles are given is printed as
it is, without markup or emoji codes.
"""

import io
import json
import sys
from typing import Any

from rich.console import Console
from rich.style import StyleType
from rich.text import Text


def console() -> Console:
    """For results and progress. Wide when not a terminal: a pipe has no margin to wrap at."""
    plain = Console(highlight=False, markup=False, emoji=False)
    if plain.is_terminal:
        return plain
    return Console(highlight=False, markup=False, emoji=False, width=200)


def print_line(out: Console, text: str, *, style: StyleType | None = None) -> None:
    """One line, however long; the terminal itself wraps what does not fit."""
    out.print(text, style=style, soft_wrap=True)


def print_error(label: str, message: str, *, style: StyleType) -> None:
    """``label``, in that style, and the message on stderr."""
    out = Console(stderr=True, highlight=False, markup=False, emoji=False)
    out.print(Text.assemble((label, style), message), soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout, character for character; in ASCII where stdout is not UTF-8."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "").replace("_", "")
    document = json.dumps(value, indent=2, ensure_ascii=encoding != "utf8")
    sys.stdout.write(document + "\n")


def accept_any_character() -> None:
    """From now on stdout writes what its encoding lacks as an escape sequence, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def format_bytes(count: float) -> str:
    """``1234567`` as ``1.23 MB`` (powers of 1000), three significant digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def format_seconds(seconds: float) -> str:
    """``75`` as ``1m 15s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
