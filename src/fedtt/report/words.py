"""Numbers as a reader wants them."""

from collections.abc import Iterable

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None) -> str:
    """Three decimals for scores, three significant digits for what is small."""
    if value is None:
        return NOTHING
    text = f"{abs(value):.3f}" if abs(value) >= 0.0995 or value == 0 else f"{abs(value):.3g}"
    return f"{MINUS}{text}" if value < 0 else text


def signed(value: float) -> str:
    """Three decimals and a sign."""
    text = f"{abs(value):.3f}"
    return f"{MINUS if value < 0 and float(text) else '+'}{text}"


def listed(names: Iterable[str], *, most: int = 5, of: int = 0) -> str:
    """``a, b and c``; of many the first, and how many more. ``of``: so many there are in all."""
    shown = list(names)
    count = max(of, len(shown))
    if count > most:
        return f"{', '.join(shown[:most])} and {count - most} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def counted(count: int, noun: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
