"""Rows of a CSV, JSON-lines or parquet file as Python values, each with its place in the file."""

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.errors import DataError
from fedtt.strict_json import unique_keys

WRITE_AGAIN = "correct this line, or write the file again with a CSV, JSON or parquet library"
SAVE_AS_UTF8 = 'save the file as UTF-8 (in a spreadsheet: "CSV UTF-8")'
OTHER_SEPARATORS = {";": "';'", "\t": "a tab", "|": "'|'"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The wanted columns that are there, and for every row where a human finds it.

    A value is what the file says it is: in CSV always a string; in JSON and parquet a string,
    int, float, bool, None or something nested. A key that a JSON object lacks is None.
    """

    names: Sequence[str]  # of all the file's columns
    columns: Mapping[str, Sequence[object]]
    places: Sequence[str]  # "reviews.csv:12" or "reviews.parquet, row 11"


def read_table(path: Path, wanted: Collection[str]) -> Table:
    """Every row of a ``.csv``, ``.jsonl``, ``.json`` (one object a line) or ``.parquet`` file.

    Raises:
        DataError: the file is missing, of another type, or broken; the message has the line.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(
            "this type of data file is not known",
            where=str(path),
            got=path.suffix or "no extension",
            expected="one of .csv, .jsonl, .json (one object a line), .parquet",
            fix="save the data in one of these formats, with the matching extension",
        )
    try:
        return read(path, wanted)
    except OSError as error:
        raise DataError(
            "the data file cannot be read",
            where=str(path),
            got=error.strerror or str(error),
            expected="a file this user can read",
            fix="check the path: in a configuration file it is relative to that file, on the "
            "command line to the current folder. Beside a CONFIG, --set data.path=FILE takes "
            "another file, and --set data.test_path=FILE that of the test",
        ) from error


def _read_csv(path: Path, wanted: Collection[str]) -> Table:
    # newline="" leaves the line ends to the csv module: a quoted field may hold some.
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows: list[list[str]] = []
    places: list[str] = []
    start = 1
    try:
        header = next(reader, [])
        check_separator(header, wanted, path)
        start = reader.line_num + 1
        for row in reader:
            if row[1:] == header[1:] != [] and row[0].strip("\ufeff") == header[0].strip("\ufeff"):
                raise broken_file(path, start, "the first line again", "the names of columns once")
            if row and len(row) != len(header):
                got = f"{len(row)} fields"
                raise broken_file(path, start, got, f"{len(header)} fields, as in the first line")
            if row:
                rows.append(row)
                places.append(f"{path}:{start}")
            start = reader.line_num + 1
    except csv.Error as error:
        limit = f"every quote closed, and no field over {csv.field_size_limit():,} characters "
        expected = f"{limit}(.jsonl and .parquet have no such limit)"
        raise broken_file(path, start, str(error), expected) from error
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise broken_file(
            path, 1, f"column {repeated[0]!r} twice", "a different name for each column"
        )
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header) if name in wanted}
    return Table(names=header, columns=columns, places=places)


def check_separator(header: Sequence[str], wanted: Collection[str], path: Path) -> None:
    """Raise :class:`DataError` for columns separated by something else: where a comma is the
    decimal mark, spreadsheets do that.
    """
    if len(header) != 1 or header[0] in wanted:
        return
    for separator, shown in OTHER_SEPARATORS.items():
        names = [name.strip() for name in header[0].split(separator)]
        if {*names} & {*wanted}:
            raise DataError(
                f"the columns of the file are separated by {shown}, as it looks",
                where=f"{path}:1",
                got=repr(header[0][:80]),
                expected="a comma between columns",
                fix="write the file with commas, or as .jsonl or .parquet",
            )


def _read_json_lines(path: Path, wanted: Collection[str]) -> Table:
    objects: list[dict[str, object]] = []
    places: list[str] = []
    # Split at "\n" only: str.splitlines would also cut inside a string at U+2028 and the like.
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            # Files put end to end may have several byte-order marks.
            value = json.loads(line.removeprefix("\ufeff"), object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise broken_file(path, number, str(error), "one JSON object on each line") from error
        if not isinstance(value, dict):
            raise broken_file(path, number, repr(line[:60]), "one JSON object on each line")
        objects.append(value)
        places.append(f"{path}:{number}")
    names = list(dict.fromkeys(name for value in objects for name in value))
    columns = {name: [value.get(name) for value in objects] for name in names if name in wanted}
    return Table(names=names, columns=columns, places=places)


def _read_parquet(path: Path, wanted: Collection[str]) -> Table:
    # Imported here: arrow takes a while to load, and the other formats do without it.
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            names = parquet.schema_arrow.names
            # Other columns are not even read: they may hold what Python has no value for.
            table = parquet.read(columns=[name for name in names if name in wanted])
            columns = {name: table.column(name).to_pylist() for name in table.column_names}
            num_rows = parquet.metadata.num_rows
    except (pyarrow.ArrowException, KeyError, UnicodeDecodeError) as error:
        raise DataError(
            "the data file is broken",
            where=str(path),
            got=str(error),
            expected="a parquet file with a different name for each column",
            fix="write the file again",
        ) from error
    places = [f"{path}, row {row}" for row in range(1, num_rows + 1)]
    return Table(names=names, columns=columns, places=places)


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        # "-sig": spreadsheets put a byte-order mark before the first column name.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise broken_file(
            path, line, guess_encoding(data), "UTF-8 text", fix=SAVE_AS_UTF8
        ) from error
    if "\0" in text.partition("\n")[0]:
        raise broken_file(path, 1, "NUL characters, as in UTF-16", "UTF-8 text", fix=SAVE_AS_UTF8)
    return text


def guess_encoding(data: bytes) -> str:
    """What bytes that are not UTF-8 may be."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data.partition(b"\n")[0]:
        return "bytes that are not UTF-8, but UTF-16"
    return "bytes that are not UTF-8, but perhaps Latin-1 or Windows-1252"


def broken_file(
    path: Path, line: int, got: str, expected: str, *, fix: str = WRITE_AGAIN
) -> DataError:
    """The error for a line that cannot be read."""
    return DataError(
        "the data file is broken",
        where=f"{path}:{line}",
        got=got,
        expected=expected,
        fix=fix,
    )


_READERS = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
}
