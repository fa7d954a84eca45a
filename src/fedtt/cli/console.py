"""Where output goes: results to stdout, errors to stderr; no colors when it is not a terminal.

Client ids, labels and texts are other people's words: what these consoles are given is printed as
it is, without markup or emoji codes, but for control characters, which a terminal would obey: they
are printed as escape sequences.
"""

import io
import json
import re
import sys
from typing import Any

from rich.console import Console
from rich.style import StyleType
from rich.text import Text

# All (C0, DEL, C1) but line break and tab, and what reorders or breaks a line as it is shown.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

SIGNS_IN_ASCII = str.maketrans({"█": "#", "±": "+-", "Δ": "delta"})


def escape_controls(text: str) -> str:
    """The text with every control character as Python writes it."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def writable(text: str) -> str:
    """Text of our own, with ASCII in place of the signs that stdout's encoding may lack."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return text.translate(SIGNS_IN_ASCII)
    return text


class PlainConsole(Console):
    """Every string that it is given to print, in a table too, has its control characters escaped.

    A ``Text`` is printed as it is: whoever makes one escapes it.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **how: Any) -> Text:
        """Called by rich for every string."""
        return super().render_str(escape_controls(text), **how)


def console() -> Console:
    """For results and progress. Wide when not a terminal: a pipe has no margin to wrap at."""
    plain = PlainConsole()
    return plain if plain.is_terminal else PlainConsole(width=200)


def print_line(out: Console, text: str, *, style: StyleType | None = None) -> None:
    """One line, however long; the terminal itself wraps what does not fit."""
    out.print(text, style=style, soft_wrap=True)


def print_error(label: str, message: str, *, style: StyleType) -> None:
    """``label``, in that style, and the message on stderr."""
    out = PlainConsole(stderr=True)
    out.print(Text.assemble((label, style), escape_controls(message)), soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout, character for character; in ASCII where stdout is not UTF-8."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("-", "").replace("_", "")
    document = json.dumps(value, indent=2, ensure_ascii=encoding != "utf8")
    # json escapes only the controls of ASCII; all of them stand inside strings.
    escaped = CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
    sys.stdout.write(escaped + "\n")


def accept_any_character() -> None:
    """From now on stdout writes what its encoding lacks as an escape sequence, as stderr does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def format_seconds(seconds: float) -> str:
    """``75`` as ``1m 15s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
