"""Where output goes: results to stdout, errors to stderr; no colors when it is not a terminal."""

import json
from typing import Any

from rich.console import Console


def console() -> Console:
    """For results and progress. Wide when not a terminal: a pipe has no margin to wrap at."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=200)


def errors_console() -> Console:
    """For errors and notes about them."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    console().print(json.dumps(value, indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


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
