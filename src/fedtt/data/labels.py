"""Labels as people write them, numbered from 0."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from fedtt.data.label_meaning import LabelCell, is_whole, look_of, read_label, without_invisible
from fedtt.errors import DataError

HIDDEN = -1  # the label of every example whose label is not published
MANY = 10  # names that an error shows


@dataclass(frozen=True, kw_only=True)
class ClassIds:
    """A class id for every row, the name of every class, and the class id of every label.

    ``cells`` are the integers that were taken for the classes, in their order, because there are
    as many of them as ``label_names``; None where labels say themselves which class they are.
    """

    labels: tuple[int, ...]
    label_names: tuple[str, ...]
    numbers: Mapping[str, int]
    cells: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GivenClasses:
    """The classes as a user named them, and, where labels are not those names, what they are."""

    names: tuple[str, ...]
    values: tuple[str | int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Column:
    """What is written in every row of the label column."""

    cells: tuple[LabelCell, ...]
    values: tuple[object, ...]
    places: tuple[str, ...]
    file: str

    def rows(self) -> Iterable[tuple[LabelCell, object, str]]:
        """What each row's label says, as written, and where."""
        return zip(self.cells, self.values, self.places, strict=True)

    @property
    def texts(self) -> dict[str, str]:
        """Every different label -> the place where it is first."""
        firsts: dict[str, str] = {}
        for cell, place in zip(self.cells, self.places, strict=True):
            firsts.setdefault(cell.text, place)
        return firsts


def number_labels(
    values: Sequence[object],
    *,
    places: Sequence[str],
    given: GivenClasses | None = None,
    file: str | None = None,
) -> ClassIds:
    """Class ids 0..n-1 of labels that are all whole numbers or all names.

    What a label is, :func:`fedtt.data.label_meaning.read_label` says, whatever the file's format.
    Without ``given``, names are numbered in sorted order and whole numbers in ascending order,
    and labels that look the same are refused. With it a label is one of its values, or else one of
    its names; whole numbers that are no names stand for the classes in ascending order where there
    are as many of them, and are refused otherwise, since nothing says which class is absent.

    ``places`` tells a human where each value stands, ``file`` where all of them do.

    Raises:
        DataError: a label is missing, a boolean, a fraction, or nothing of the kind; whole numbers
            are mixed with names; there is one class only, and ``given`` names no other; or
            ``given`` does not fit.
    """
    column = _read(values, places, file=file)
    if given is None:
        names = _sorted_classes(column)
        numbers, cells = {name: index for index, name in enumerate(names)}, None
    else:
        names = given.names
        numbers, cells = _placed(column, given)
    return ClassIds(
        labels=tuple(numbers[cell.text] for cell in column.cells),
        label_names=names,
        numbers=numbers,
        cells=cells,
        notes=_unicode_notes(values),
    )


def number_alike(
    values: Sequence[object], *, places: Sequence[str], like: ClassIds
) -> tuple[int, ...]:
    """The class ids of a second file's labels, numbered as ``like`` numbered the first one's.

    Raises:
        DataError: a label cannot be one, or the first file has no such label.
    """
    column = _read(values, places)
    for cell, value, place in column.rows():
        if cell.text not in like.numbers:
            _check_fault(cell, value, place)
            raise DataError(
                "a label does not occur in the training data",
                where=place,
                got=repr(value),
                expected=_one_of(like.numbers),
                fix="write the labels of both files the same way",
            )
    return tuple(like.numbers[cell.text] for cell in column.cells)


def number_by_position(
    values: Sequence[object], *, places: Sequence[str], label_names: Sequence[str]
) -> tuple[int, ...]:
    """Class ids of labels that are ids already, or names; nothing is guessed from the values.

    Raises:
        DataError: a label is missing or neither, is no id or name of the classes, or is hidden
            (-1); integers are mixed with names.
    """
    column = _read(values, places)
    known = {str(index): index for index in range(len(label_names))}
    known |= {read_label(name).text: index for index, name in enumerate(label_names)}
    unknown = [row for row in column.rows() if row[0].text not in known]
    for row in unknown:
        _check_fault(*row)
    _check_not_mixed(column)
    for _, value, place in unknown[:1]:
        raise _unknown_label(value, place, label_names)
    return tuple(known[cell.text] for cell in column.cells)


def hidden_label(place: str, *, got: str = f"label {HIDDEN}") -> DataError:
    """The error for a label that is not published."""
    return DataError(
        "the labels of this split are hidden",
        where=place,
        got=got,
        expected="a published label",
        fix="use the train and validation files; labels of the test split are not published",
    )


def _read(values: Sequence[object], places: Sequence[str], *, file: str | None = None) -> _Column:
    return _Column(
        cells=tuple(map(read_label, values)),
        values=tuple(values),
        places=tuple(places),
        file=file or (places[0] if places else ""),
    )


def _sorted_classes(column: _Column) -> tuple[str, ...]:
    """The labels themselves, which are to be told apart by eye."""
    for cell, value, place in column.rows():
        _check_fault(cell, value, place)
    if not any(cell.is_code for cell in column.cells):  # in a column of codes 1234 is one too
        _check_not_mixed(column)
    firsts = column.texts
    _check_looks(firsts)
    _check_several(column)
    whole = all(map(is_whole, firsts))
    return tuple(sorted(firsts, key=int) if whole else sorted(firsts))


def _placed(column: _Column, given: GivenClasses) -> tuple[dict[str, int], tuple[int, ...] | None]:
    """The class id of every label under given names; and the integers, where they were counted."""
    known = _known(given)
    firsts = column.texts
    # Names that are digits say themselves which number each class is.
    spoken = given.values is not None or any(text.lstrip("+-").isdecimal() for text in known)
    counted = not spoken and all(cell.is_number for cell in column.cells)
    if not counted:
        _check_known(column, known, given)
    if not counted:
        return known, None
    in_order = sorted(map(int, firsts))
    if len(in_order) != len(given.names):
        _raise_unplaced(in_order, given, where=column.file)
    return {str(number): index for index, number in enumerate(in_order)}, tuple(in_order)


def _known(given: GivenClasses) -> dict[str, int]:
    """What a cell may say -> the class it means."""
    names = given.names
    seen = {without_invisible(read_label(name).text) for name in names}
    if "" in seen or len(seen) < max(2, len(names)):
        raise DataError(
            "label_names does not name the classes",
            where="label_names",
            got=list(names),
            expected="at least two names, which differ by what one sees",
            fix="give one name for each class",
        )
    if given.values is None:
        return {read_label(name).text: index for index, name in enumerate(names)}
    known = {read_label(value).text: index for index, value in enumerate(given.values)}
    if not len(known) == len(given.values) == len(names):
        raise DataError(
            "label_values does not fit label_names",
            where="label_values",
            got=list(given.values),
            expected=f"{len(names)} different values, one for each of {', '.join(names[:MANY])}",
            fix="say what stands in the label column for each class, in their order",
        )
    return known


def _check_known(column: _Column, known: Mapping[str, int], given: GivenClasses) -> None:
    for cell, value, place in column.rows():
        if cell.text in known:
            continue
        _check_fault(cell, value, place)
        alike = [text for text in known if look_of(text) == look_of(cell.text)]
        hint = f"did you mean {alike[0]!r}? " if alike else ""
        key = "label_names" if given.values is None else "label_values"
        raise DataError(
            f"a label is not in {key}",
            where=place,
            got=repr(value),
            expected=_one_of(known),
            fix=f"{hint}correct the label, or data.{key}",
        )


def _raise_unplaced(numbers: Sequence[int], given: GivenClasses, *, where: str) -> NoReturn:
    count = len(given.names)
    from_zero, from_one = list(range(count)), list(range(1, count + 1))
    several = f" (such as {from_zero}, or {from_one})" if count <= MANY else ""
    raise DataError(
        "which class each integer stands for cannot be told",
        where=where,
        got=f"{len(numbers)} different labels, {_listing(map(str, numbers))}",
        expected=f"one for each of the {count} classes {_listing(given.names)}",
        fix="say what stands in the label column for each of label_names, in their order, in "
        f"data.label_values{several}; or write the names",
    )


def _check_fault(cell: LabelCell, value: object, place: str) -> None:
    if cell.fault is not None:
        shown = repr(value)
        raise DataError(
            f"a label is {cell.fault}",
            where=place,
            got=shown if len(shown) <= 80 else f"{shown[:77]}...",
            expected="an integer such as 0 or 1, or a name such as positive",
            fix="write every label as an integer or a name; if this is the name of a class, list "
            "the classes in data.label_names",
        )


def _check_not_mixed(column: _Column) -> None:
    whole = column.cells[0].is_number
    for cell, value, place in column.rows():
        if cell.is_number is not whole:
            raise DataError(
                "the labels mix integers and names",
                where=place,
                got=f"{value!r}, after {column.values[0]!r} at {column.places[0]}",
                expected="all integers, or all names",
                fix="write every label the same way, or list the classes in data.label_names",
            )


def _check_looks(firsts: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for text, place in firsts.items():
        other = seen.setdefault(look_of(text), text)
        if other != text:
            raise DataError(
                "two labels look the same",
                where=place,
                got=f"{text!r}, and {other!r} at {firsts[other]}",
                expected="labels that differ by more than case, Unicode form, invisible "
                "characters, white space or zeros in front",
                fix="write the class in one way; or list both in data.label_names if they are two",
            )


def _check_several(column: _Column) -> None:
    firsts = column.texts
    if len(firsts) < 2:
        raise DataError(
            "the data has one class only",
            where=column.file,
            got=f"{len(column.cells)} examples, all labeled {column.values[0]!r}",
            expected="at least two classes",
            fix="add examples of another class, or name another label column",
        )


def _unknown_label(value: object, place: str, label_names: Sequence[str]) -> DataError:
    if read_label(value).text == str(HIDDEN):
        return hidden_label(place)
    return DataError(
        "a label is not one of the task's classes",
        where=place,
        got=repr(value),
        expected=f"an id from 0 to {len(label_names) - 1}, or one of {_listing(label_names)}",
        fix="correct the label, or use the file as published; for classes of your own see "
        "data.path",
    )


def _unicode_notes(values: Sequence[object]) -> tuple[str, ...]:
    """That labels were put together which differ by their Unicode form alone."""
    written = {value for value in values if type(value) is str and not value.isascii()}
    composed = {read_label(value).text for value in written}
    merged = len(written) - len(composed)
    note = f"{merged:,} labels differ from another by their Unicode form alone: they are the same."
    return (note,) if merged else ()


def _one_of(texts: Iterable[str]) -> str:
    return f"one of {_listing(map(repr, texts))}"


def _listing(texts: Iterable[str]) -> str:
    every = list(texts)
    return ", ".join(every[:MANY]) + (", ..." if len(every) > MANY else "")
