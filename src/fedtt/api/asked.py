"""What a Python call asks a model about: texts, or a table with a column of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd
from datasets import Dataset

from fedtt.api.own_data import Examples, frame_of
from fedtt.errors import DataError

Texts: TypeAlias = tuple[list[str], list[str] | None]


def asked_texts(given: str | Iterable[str] | Examples, columns: Sequence[str]) -> Texts:
    """The texts, and of a table with two ``columns`` the second ones. Raises :class:`DataError`."""
    if isinstance(given, str):
        return [given], None
    if isinstance(given, pd.DataFrame | Dataset):
        return _of_table(frame_of(given), columns)
    # Of these Python makes a list, too: of keys, of bytes.
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise DataError(
            "no texts",
            where="texts",
            got=f"{type(given).__name__}: {repr(given)[:60]}",
            expected="a str, a list of them, or a pandas.DataFrame with "
            f"the column {' and '.join(map(repr, columns))}",
        )
    return _checked(given, "text {}"), None


def _of_table(frame: pd.DataFrame, columns: Sequence[str]) -> Texts:
    found = []
    for name in columns:
        number = list(frame.columns).count(name)
        if number != 1:
            raise DataError(
                f"the table has {'no' if number == 0 else 'more than one'} column {name!r}",
                where="the table to predict",
                got=", ".join(map(repr, frame.columns)) or "no column",
                expected=f"a column {name!r} with the texts",
                fix="rename the column, or give the texts themselves: run.predict(table[COLUMN])"
                if len(columns) == 1
                else "rename the column",
            )
        found.append(_checked(frame[name], f"column {name!r}, row {{}}"))
    return found[0], found[1] if len(found) > 1 else None


def _checked(texts: Iterable[object], place: str) -> list[str]:
    checked = []
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(
                "no text", where=place.format(number), got=repr(text)[:60], expected="a str"
            )
        checked.append(text)
    return checked


def file_path(given: str | Path, argument: str) -> Path:
    """The path. Raises :class:`DataError` for what is none."""
    if not isinstance(given, str | Path):
        raise DataError(
            "no path of a file",
            where=argument,
            got=type(given).__name__,
            expected="a str or a pathlib.Path",
            fix="run.predict(...) takes texts and tables that are in memory",
        )
    return Path(given)
