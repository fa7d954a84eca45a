"""JSON as peers and files write it: read in one way only, or refused."""

import json
import math
from typing import Any

MAX_DIGITS = 100  # of a whole number: no count, seed or size here has more


def parse_json(text: str | bytes) -> Any:
    """What ``text`` says. Raises ``ValueError``, and nothing else, for whatever is no plain JSON.

    Beside what ``json`` refuses that is: a key that stands twice in a table (which one counts?),
    NaN and Infinity (also as 1e999), whole numbers of more than a hundred digits, and what is
    nested too deep to be read.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of these pairs. Raises ``ValueError`` for a key that stands twice."""
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"a key stands twice in a table: {twice[:40]!r}")
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a number is too large: {text[:40]}")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS + 1:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)
