"""Columns of a table as the values a task needs, every bad cell refused with its place."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fedtt.data.examples import is_unicode
from fedtt.data.labels import HIDDEN, hidden_label, number_by_position
from fedtt.data.tables import Table
from fedtt.errors import DataError

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,300}\s*")
_NUMBER = re.compile(
    r"\s*[+-]?([0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})(e[+-]?[0-9]{1,9})?\s*", re.I
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one split. ``textual``: from a format without types (CSV)."""

    table: Table
    textual: bool

    def __len__(self) -> int:
        return len(self.table.places)

    def place(self, row: int, column: str) -> str:
        """Where a human finds that cell."""
        return f"{self.table.places[row]}, column {column!r}"

    def strings(self, column: str) -> tuple[str, ...]:
        """Texts; an empty one is a text too. Raises :class:`DataError` for anything else."""
        return tuple(
            as_string(value, where=self.place(row, column))
            for row, value in enumerate(self.table.columns[column])
        )

    def class_ids(self, column: str, label_names: Sequence[str]) -> tuple[int, ...]:
        """Class ids: integers as they are, names by their position, of two also booleans."""
        return number_by_position(
            self.table.columns[column],
            places=self.table.places,
            label_names=label_names,
        )

    def integers(self, column: str) -> tuple[int, ...]:
        """Whole numbers from 0."""
        values = self.table.columns[column]
        return tuple(
            as_index(self._typed(value), where=self.place(row, column))
            for row, value in enumerate(values)
        )

    def numbers(self, column: str, *, low: float, high: float) -> tuple[float, ...]:
        """Numbers from ``low`` to ``high``."""
        values = self.table.columns[column]
        return tuple(
            _as_number(self._typed(value), low, high, where=self.place(row, column))
            for row, value in enumerate(values)
        )

    def lists(self, column: str) -> tuple[tuple[str, ...], ...]:
        """Lists of strings; one may have none."""
        return tuple(
            as_strings(value, where=self.place(row, column), textual=self.textual)
            for row, value in enumerate(self.table.columns[column])
        )

    def records(self, column: str) -> tuple[Mapping[str, object], ...]:
        """Records such as ``{"text": [...], "answer_start": [...]}``."""
        return tuple(
            as_record(value, where=self.place(row, column), textual=self.textual)
            for row, value in enumerate(self.table.columns[column])
        )

    def keys(self, column: str, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Of records such as ``{"paragraph": 3, "question": 7}`` the named whole numbers."""
        return tuple(
            _as_key(value, names, where=self.place(row, column), textual=self.textual)
            for row, value in enumerate(self.table.columns[column])
        )

    def _typed(self, value: object) -> object:
        return _number_in(value) if self.textual else value


def _number_in(value: object) -> object:
    """The number that a text is, where it is a finite one of a few digits; else the text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) if _INTEGER.fullmatch(value) else float(value)
    return value


def as_string(value: object, *, where: str) -> str:
    """A text. Raises :class:`DataError` for what is none."""
    if not isinstance(value, str):
        raise _cell(
            "a text is missing" if value is None else "a text is not a string", where, value
        )
    if not is_unicode(value):
        raise _cell("a text is not valid Unicode", where, value)
    return value


def as_index(value: object, *, where: str) -> int:
    """A whole number from 0. Raises :class:`DataError` for what is none."""
    if type(value) is not int or value < 0:
        raise _cell("a value is not a whole number from 0", where, value)
    return value


def _as_number(value: object, low: float, high: float, *, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _cell("a score is not a number", where, value)
    if value == HIDDEN and low > HIDDEN:
        raise hidden_label(where)
    if not low <= value <= high:
        raise _cell(f"a score is not between {low:g} and {high:g}", where, value)
    return float(value)


def as_record(value: object, *, where: str, textual: bool = False) -> Mapping[str, object]:
    """Named values. Raises :class:`DataError` for what is none."""
    _check_nested(value, dict, where=where, textual=textual)
    return value  # type: ignore[return-value]  # checked


def as_strings(value: object, *, where: str, textual: bool = False) -> tuple[str, ...]:
    """A list of texts. Raises :class:`DataError` for what is none."""
    _check_nested(value, list, where=where, textual=textual)
    return tuple(as_string(entry, where=where) for entry in value)  # type: ignore[attr-defined]


def _as_key(value: object, names: Sequence[str], *, where: str, textual: bool) -> tuple[int, ...]:
    record = as_record(value, where=where, textual=textual)
    return tuple(as_index(record.get(name), where=f"{where}, {name!r}") for name in names)


def _check_nested(value: object, kind: Callable[..., object], *, where: str, textual: bool) -> None:
    if type(value) is not kind:
        raise _cell(
            f"a value is not a {'list' if kind is list else 'record'}",
            where,
            value,
            fix="a CSV file has none: use the JSON-lines or parquet file" if textual else None,
        )


def _cell(summary: str, where: str, value: object, *, fix: str | None = None) -> DataError:
    shown = repr(value)
    return DataError(
        summary,
        where=where,
        got=shown if len(shown) <= 80 else f"{shown[:77]}...",
        expected="what the data set as published has there",
        fix=fix or "correct this row, or download the file again",
    )
