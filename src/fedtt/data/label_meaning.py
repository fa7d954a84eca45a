"""What is written in a label's cell: one rule for every file format, for names and for values."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fedtt.data.examples import is_unicode

MAX_NAME = 1000  # characters; what is longer is no label but another column
EXACT = 2**53  # beyond it a fraction cannot be told from a whole number

# pandas' marks of a missing value; "none" and "na" may well be classes.
MISSING = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "-NaN", "-nan", "NaN"}
    | {"<NA>", "N/A", "NA", "NULL", "None", "n/a", "nan", "null"}
)
_WHOLE = re.compile(r"\s*([+-]?)(0|[1-9][0-9]*)(?:\.0*)?\s*")
_CODE = re.compile(r"0[0-9]+")
_NUMBER = re.compile(
    r"\s*([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity))\s*", re.I
)
_BOOLEAN, _SURROUNDED = "a boolean", "surrounded by white space"
# Control and format characters; and the letters and marks that show nothing.
_UNSEEN = frozenset({"Cc", "Cf"})
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\ufe0e\ufe0f\uffa0")


@dataclass(frozen=True, kw_only=True)
class LabelCell:
    """A label as it is compared: ``text``, and why it is no label unless a class has that name.

    A whole number is its decimal form, whether it was 1, 1.0, "1" or "+1"; true and false are in
    lower case; everything else is as written, in Unicode's composed form (NFC).
    """

    text: str
    fault: str | None = None

    @property
    def is_number(self) -> bool:
        """Whether it is a whole number; a code with zeros in front is none."""
        return is_whole(self.text)

    @property
    def is_code(self) -> bool:
        """Whether it is digits that begin with a zero, such as 0042."""
        return _CODE.fullmatch(self.text) is not None


@lru_cache(maxsize=4096)  # a file has many labels and few different ones
def is_whole(text: str) -> bool:
    """Whether a cell's text is a whole number in its decimal form."""
    match = _WHOLE.fullmatch(text)
    return match is not None and text == _decimal(match)


def read_label(value: object) -> LabelCell:
    """What a cell means; the same for a CSV cell, a JSON value and a parquet value."""
    reader = _READERS.get(type(value))
    if reader is None:
        return LabelCell(text="", fault="neither an integer nor a string")
    return reader(value)


def look_of(text: str) -> str:
    """What two texts have in common that a reader takes for the same: not case, Unicode form,
    invisible characters, runs of white space, or zeros in front.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    look = " ".join(without_invisible(folded).split())
    return look.lstrip("0") or "0" if look.isdecimal() else look


def without_invisible(text: str) -> str:
    """The text without characters that show nothing, such as zero-width spaces."""
    return "".join(
        c for c in text if c.isspace() or not (unicodedata.category(c) in _UNSEEN or c in _BLANK)
    )


@lru_cache(maxsize=4096)
def _read_text(text: str) -> LabelCell:
    if len(text) > MAX_NAME:  # not even looked at: int() has a limit on its digits
        return LabelCell(text=text, fault=f"longer than {MAX_NAME:,} characters")
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        return LabelCell(text=_decimal(whole))
    fault = next((fault for fault, has in _FAULTS.items() if has(text)), None)
    written = text if fault == _SURROUNDED else text.strip()
    return LabelCell(
        text=written.lower() if fault == _BOOLEAN else unicodedata.normalize("NFC", written),
        fault=fault,
    )


def _read_float(number: float) -> LabelCell:
    if number != number:  # noqa: PLR0124 (NaN alone is unlike itself)
        return LabelCell(text="nan", fault="missing")
    if number.is_integer() and abs(number) < EXACT:
        return LabelCell(text=str(int(number)))
    return LabelCell(text=repr(number), fault="not a whole number")


def _decimal(match: re.Match[str]) -> str:
    sign, digits = match.groups()
    return f"-{digits}" if sign == "-" and digits != "0" else digits


_READERS: Mapping[type, Callable[[Any], LabelCell]] = {
    str: _read_text,
    int: lambda number: _read_text(str(number)),
    float: _read_float,
    bool: lambda truth: LabelCell(text=str(truth).lower(), fault=_BOOLEAN),
    type(None): lambda _: LabelCell(text="", fault="missing"),
}

# What keeps a text from being a label, the first that holds.
_FAULTS: Mapping[str, Callable[[str], bool]] = {
    "not valid Unicode": lambda text: not is_unicode(text),
    "missing": lambda text: text.strip() in MISSING or not without_invisible(text).strip(),
    _BOOLEAN: lambda text: text.strip().lower() in {"true", "false"},
    "not a whole number": lambda text: bool(_NUMBER.fullmatch(text)) and not _CODE.fullmatch(text),
    _SURROUNDED: lambda text: text != text.strip(),
}
