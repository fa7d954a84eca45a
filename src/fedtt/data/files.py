"""A user's own file with text, label and optionally pair and client columns."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.data.examples import LabeledTexts, RawData, is_unicode
from fedtt.data.label_meaning import look_of
from fedtt.data.labels import ClassIds, GivenClasses, number_alike, number_labels
from fedtt.data.tables import Table, read_table
from fedtt.errors import DataError

CLIENT_COLUMN = "client"
MANY_CLASSES = 20  # with so few examples of each that one asks whether these are classes


@dataclass(frozen=True, kw_only=True)
class _Columns:
    text: str
    pair: str | None
    label: str

    @property
    def required(self) -> list[str]:
        return [self.text, *([self.pair] if self.pair else []), self.label]


def load_text_file(
    path: str | Path,
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    label_column: str = "label",
    client_column: str = CLIENT_COLUMN,
    classes: GivenClasses | None = None,
    test_path: str | Path | None = None,
) -> RawData:
    """The examples of a ``.csv``, ``.jsonl``, ``.json`` (one object a line) or ``.parquet`` file.

    Labels are integers or names, numbered as ``number_labels`` says, under ``classes`` where they
    are given. A column named ``client`` is used if it is there, and another ``client_column`` has
    to be there; integer client ids become strings. Without one, the whole file is one client named
    after the file's stem.
    With ``pair_column`` every example is two texts. Other columns are left out, and ``notes``
    says so. The file at ``test_path``, with the same columns, is the test set that all clients
    share; its labels are numbered as the first file's.

    Raises:
        DataError: a file, a column, a text, a label or a client id cannot be used; the message
            names the line (parquet: the row, from 1).
    """
    path = Path(path)
    columns = _Columns(text=text_column, pair=pair_column, label=label_column)
    table = read_table(path, (*columns.required, client_column))
    check_table(table, columns.required, path)
    clients = owners_of(table, client_column, path)
    ids = number_labels(
        table.columns[label_column], places=table.places, given=classes, file=str(path)
    )
    return RawData(
        name=path.stem,
        label_names=ids.label_names,
        texts_by_client=by_client(_examples(table, columns, ids.labels), clients),
        notes=_notes(table, [*columns.required, client_column], ids, label_column=label_column),
        shared_test=None if test_path is None else _load_test(Path(test_path), columns, ids),
        label_cells=ids.cells,
    )


def _notes(
    table: Table, wanted: Sequence[str], ids: ClassIds, *, label_column: str
) -> tuple[str, ...]:
    notes = list(unused_notes(table, wanted))
    classes, examples = len(set(ids.labels)), len(ids.labels)
    if classes > MANY_CLASSES and 2 * classes > examples:
        notes.append(
            f"The column {label_column!r} holds {classes:,} classes for {examples:,} examples: "
            "is it the one with the labels?"
        )
    return (*notes, *ids.notes)


def _load_test(path: Path, columns: _Columns, like: ClassIds) -> LabeledTexts:
    table = read_table(path, columns.required)
    check_table(table, columns.required, path)
    labels = number_alike(table.columns[columns.label], places=table.places, like=like)
    return _examples(table, columns, labels)


def _examples(table: Table, columns: _Columns, labels: tuple[int, ...]) -> LabeledTexts:
    def texts(column: str, what: str) -> tuple[str, ...]:
        return tuple(strings_of(table, column, what=what, is_id=False))

    return LabeledTexts(
        texts=texts(columns.text, "text"),
        labels=labels,
        pairs=None if columns.pair is None else texts(columns.pair, "second text"),
    )


def by_client(examples: LabeledTexts, clients: Sequence[str]) -> dict[str, LabeledTexts]:
    """Every client's examples; ``clients`` names the holder of each."""
    rows_of: dict[str, list[int]] = {}
    for row, client_id in enumerate(clients):
        rows_of.setdefault(client_id, []).append(row)
    return {client_id: examples.select(rows) for client_id, rows in rows_of.items()}


def owners_of(table: Table, client_column: str, path: Path) -> list[str]:
    """Who holds each row: what that column says, or the file's stem where it has none of its own.

    Raises :class:`DataError` for an id that is none, another ``client_column`` than the usual one
    that is not there, and a column that only a reader takes for the usual one: all its clients
    would be one.
    """
    if client_column not in table.names and client_column == CLIENT_COLUMN:
        alike = taken_for_client(table.names)
        if not alike:
            return [path.stem] * len(table.places)
        raise DataError(
            f"the name of a column is {CLIENT_COLUMN!r} but for case, spaces or invisible marks",
            where=str(path),
            got=repr(alike[0]),
            expected=f"{CLIENT_COLUMN!r}, where it says who holds the row",
            fix=f"rename the column, or set data.client_column = {alike[0]!r}; where it says "
            "something else, give it another name",
        )
    check_table(table, [client_column], path)
    return strings_of(table, client_column, what="client id", is_id=True)


def taken_for_client(names: Iterable[object]) -> list[str]:
    """Those of the columns that a reader takes for ``client``, it among them."""
    return [name for name in map(str, names) if look_of(name) == CLIENT_COLUMN]


def unused_notes(table: Table, wanted: Sequence[str]) -> tuple[str, ...]:
    """A line on the columns that are not used, and on one of them that may name the clients."""
    unused = sorted(set(table.names) - set(wanted))
    if not unused:
        return ()
    shown = ", ".join(name if is_unicode(name) else ascii(name) for name in unused)
    notes = [f"Columns not used: {shown}."]
    owners = [name for name in unused if look_of(name).startswith(CLIENT_COLUMN)]
    if owners and CLIENT_COLUMN in wanted and CLIENT_COLUMN not in table.names:
        notes.append(
            f"No column says who holds a row; if {owners[0]!r} does, set data.client_column."
        )
    return tuple(notes)


def check_table(table: Table, wanted: Sequence[str], path: Path) -> None:
    """Raise :class:`DataError` unless the file has rows and these columns."""
    if not table.places:
        raise DataError(
            "the data file holds no examples",
            where=str(path),
            got="0 rows",
            expected=f"rows with the columns {', '.join(wanted)}",
            fix="check that the right file is named",
        )
    for column in wanted:
        _check_column(table, column, path)
    _check_no_header(table, wanted)


def _check_no_header(table: Table, wanted: Sequence[str]) -> None:
    """Files put end to end bring the names of their columns along."""
    names = tuple(wanted)
    rows = zip(*(table.columns[column] for column in names), strict=True)
    for row, place in zip(rows, table.places, strict=True):
        if row == names != (wanted[0],):
            raise DataError(
                "a row repeats the names of the columns",
                where=place,
                got=", ".join(map(repr, row)),
                expected="an example",
                fix="take the row out",
            )


def _check_column(table: Table, column: str, path: Path) -> None:
    if column in table.columns:
        return
    names = list(table.names)
    folded = {name.strip().casefold(): name for name in names}
    close = difflib.get_close_matches(column.strip().casefold(), list(folded), n=1)
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    raise DataError(
        f"the data file has no column {column!r}",
        where=str(path),
        got=f"columns {', '.join(repr(name) for name in names) or 'none'}",
        expected=f"a column {column!r}",
        fix=f"{hint}rename the column, or set text_column, pair_column, label_column or "
        "client_column",
    )


def strings_of(table: Table, column: str, *, what: str, is_id: bool) -> list[str]:
    """The column as non-empty strings; of ids, integers are written out.

    Raises :class:`DataError` naming the first bad row.
    """
    values = table.columns[column]
    written = [_id_of(value) for value in values] if is_id else values
    faults = [_fault(value, is_id=is_id) for value in written]
    bad = [row for row, fault in enumerate(faults) if fault]
    if bad:
        first = repr(written[bad[0]])
        more = f"; {len(bad) - 1} more rows are like it" if len(bad) > 1 else ""
        raise DataError(
            f"a {what} is {faults[bad[0]]}",
            where=f"{table.places[bad[0]]}, column {column!r}",
            got=f"{first if len(first) <= 80 else first[:77] + '...'}{more}",
            expected=f"a {what} in every row",
            fix=f"correct the column {column!r} in these rows, or take the rows out",
        )
    return [value for value in written if isinstance(value, str)]


def _id_of(value: object) -> object:
    """An id as it is compared: an integer written out, a text in composed Unicode form."""
    if type(value) is int:
        return str(value)
    return unicodedata.normalize("NFC", value) if isinstance(value, str) else value


def _fault(value: object, *, is_id: bool) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return "empty"
    if not isinstance(value, str):
        return f"not a {'string or an integer' if is_id else 'string'}"
    if is_id and value != value.strip():
        return "surrounded by white space"  # "a" and " a" would be two clients
    return None if is_unicode(value) else "not valid Unicode"
