"""Labels as people write them, numbered from 0."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtt.data.types import is_unicode
from fedtt.errors import DataError

HIDDEN = -1  # the label of every example whose label is not published
MANY = 10  # names that an error shows
MAX_NAME = 1000  # characters; what is longer is no label but another column

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*")
_NUMBER = re.compile(
    r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*|\s*[+-]?(nan|inf|infinity)\s*", re.I
)
_BOOLEAN = re.compile(r"\s*(true|false)\s*", re.I)


@dataclass(frozen=True, kw_only=True)
class ClassIds:
    """A class id for every row, the name of every class, and the class id of every label."""

    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    numbers: Mapping[object, int]

    @property
    def cells(self) -> tuple[int, ...] | None:
        """The integer that stands for each class, None where labels are names.

        Not only of the classes that occur: it is told to others, whom those do not concern.
        """
        values = [value for value in self.numbers if isinstance(value, int)]
        if not values:
            return None
        if len(values) < len(self.label_names):  # a class is absent, so these are positions
            return tuple(range(len(self.label_names)))
        return tuple(sorted(values, key=self.numbers.__getitem__))


def number_labels(
    values: Sequence[object],
    *,
    places: Sequence[str],
    label_names: Sequence[str] | None = None,
    textual: bool = False,
) -> ClassIds:
    """Class ids 0..n-1 of labels that are all integers or all names.

    Names are numbered in sorted order, integers in ascending order (they need not start at 0;
    their decimal form becomes the class name). With ``label_names``, names are numbered by their
    position in it; integers are named by it in ascending order when there are as many of them,
    and are positions in it otherwise, so that a class may be absent.

    ``textual`` says that the values come from a format without types (CSV), where ``"3"`` is an
    integer; ``places`` tells a human where each value stands.

    Raises:
        DataError: a label is missing, a boolean, a fraction, or neither integer nor name; it is too
            long for a name or not valid Unicode; integers are mixed with names; there is one class
            only; or ``label_names`` does not fit.
    """
    typed = [parse_cell(value) if textual else value for value in values]
    for value, place in zip(typed, places, strict=True):
        _check_label(value, place)
    _check_same_type(typed, places)
    distinct = sorted(set(typed))  # type: ignore[type-var]  # checked: all int or all str
    if len(distinct) < 2:
        raise DataError(
            "the data has one class only",
            where=places[0],
            got=f"{len(typed)} examples, all labeled {distinct[0]!r}",
            expected="at least two classes",
            fix="add examples of another class, or name another label column",
        )
    if label_names is None:
        names = tuple(str(value) for value in distinct)
        numbers = {value: index for index, value in enumerate(distinct)}
    else:
        names = _check_names(label_names)
        numbers = _positions(distinct, names, typed, places)
    labels = tuple(numbers[value] for value in typed)
    return ClassIds(labels=labels, label_names=names, numbers=numbers)


def number_alike(
    values: Sequence[object], *, places: Sequence[str], like: ClassIds, textual: bool = False
) -> tuple[int, ...]:
    """The class ids of a second file's labels, numbered as ``like`` numbered the first one's.

    Raises:
        DataError: a label cannot be one, or the first file has no such label.
    """
    typed = [parse_cell(value) if textual else value for value in values]
    for value, place in zip(typed, places, strict=True):
        _check_label(value, place)
        if value not in like.numbers:
            raise DataError(
                "a label does not occur in the training data",
                where=place,
                got=repr(value),
                expected=f"one of {', '.join(repr(known) for known in like.numbers)}",
                fix="write the labels of both files the same way",
            )
    return tuple(like.numbers[value] for value in typed)


def number_by_position(
    values: Sequence[object],
    *,
    places: Sequence[str],
    label_names: Sequence[str],
    textual: bool = False,
) -> tuple[int, ...]:
    """Class ids of labels that are ids already, or names; nothing is guessed from the values.

    Where the two names are ``False`` and ``True``, booleans are labels as well. ``textual`` and
    ``places`` are as in :func:`number_labels`.

    Raises:
        DataError: a label is missing or neither, is no id or name of the classes, or is hidden
            (-1); integers are mixed with names.
    """
    typed = [parse_cell(value) if textual else value for value in values]
    if tuple(label_names) == ("False", "True") and all(isinstance(v, bool) for v in typed):
        return tuple(int(value) for value in typed)  # type: ignore[call-overload]  # checked
    for value, place in zip(typed, places, strict=True):
        _check_label(value, place)
    _check_same_type(typed, places)
    named: dict[object, int] = {name: index for index, name in enumerate(label_names)}
    known = {index: index for index in range(len(label_names))} | named
    for value, place in zip(typed, places, strict=True):
        if value not in known:
            raise _unknown_label(value, place, label_names)
    return tuple(known[value] for value in typed)


def hidden_label(place: str, *, got: str = f"label {HIDDEN}") -> DataError:
    """The error for a label that is not published."""
    return DataError(
        "the labels of this split are hidden",
        where=place,
        got=got,
        expected="a published label",
        fix="use the train and validation files; labels of the test split are not published",
    )


def _unknown_label(value: object, place: str, label_names: Sequence[str]) -> DataError:
    if value == HIDDEN:
        return hidden_label(place)
    names = ", ".join(label_names[:MANY]) + (", ..." if len(label_names) > MANY else "")
    return DataError(
        "a label is not one of the task's classes",
        where=place,
        got=repr(value),
        expected=f"an id from 0 to {len(label_names) - 1}, or one of {names}",
        fix="correct the label, or use the file as published; for classes of your own see "
        "data.path",
    )


def parse_cell(value: object) -> object:
    """What a cell of a format without types most plainly means."""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        return value  # int() has a limit on its digits
    if not value.strip():
        return None
    if _INTEGER.fullmatch(value):
        return int(value)
    if _NUMBER.fullmatch(value):
        return float(value)
    if _BOOLEAN.fullmatch(value):
        return value.strip().lower() == "true"
    return value


def _check_label(value: object, place: str) -> None:
    fault = _fault_of_name(value) if isinstance(value, str) else _fault_of_type(value)
    if fault is not None:
        shown = repr(value)
        raise DataError(
            f"a label is {fault}",
            where=place,
            got=shown if len(shown) <= 80 else f"{shown[:77]}...",
            expected="an integer such as 0 or 1, or a name such as positive",
            fix="write every label as an integer or a name",
        )


def _fault_of_type(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    kinds = {bool: "a boolean", float: "not a whole number", type(None): "missing"}
    return kinds.get(type(value), "neither an integer nor a string")


def _fault_of_name(name: str) -> str | None:
    if not name.strip():
        return "empty"
    if name != name.strip():
        return "surrounded by white space"
    if len(name) > MAX_NAME:
        return f"longer than {MAX_NAME:,} characters"
    return None if is_unicode(name) else "not valid Unicode"


def _check_same_type(values: Sequence[object], places: Sequence[str]) -> None:
    first_type = type(values[0])
    for value, place in zip(values, places, strict=True):
        if type(value) is not first_type:
            raise DataError(
                "the labels mix integers and names",
                where=place,
                got=f"{value!r}, after {values[0]!r} at {places[0]}",
                expected="all integers, or all names",
                fix="write every label the same way",
            )


def _check_names(label_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(label_names)
    if len(set(names)) < max(2, len(names)):
        raise DataError(
            "label_names does not name the classes",
            where="label_names",
            got=list(names),
            expected="at least two different names",
            fix="give one name for each class",
        )
    return names


def _positions(
    distinct: Sequence[object],
    names: tuple[str, ...],
    values: Sequence[object],
    places: Sequence[str],
) -> dict[object, int]:
    """The class id of every distinct label, under names that were given."""
    if isinstance(distinct[0], str):
        known = {name: index for index, name in enumerate(names)}
    elif len(distinct) == len(names):
        return {value: index for index, value in enumerate(distinct)}
    else:
        known = {index: index for index in range(len(names))}  # type: ignore[misc]
    for value, place in zip(values, places, strict=True):
        if value not in known:
            raise DataError(
                "a label is not in label_names",
                where=place,
                got=repr(value),
                expected=f"one of {', '.join(repr(name) for name in known)}",
                fix="add the class to label_names, or correct the label",
            )
    return {value: known[value] for value in distinct}  # type: ignore[index]
