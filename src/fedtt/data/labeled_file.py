"""A file of texts, written again with new columns beside its own: row by row, in bounded memory.

The new file is of the same kind, its rows and columns as they were and in their order.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fedtt.csv_lines import write_csv_lines
from fedtt.data.files import check_table, strings_of
from fedtt.data.tables import (
    SAVE_AS_UTF8,
    Table,
    broken_file,
    check_separator,
    guess_encoding,
)
from fedtt.errors import DataError
from fedtt.strict_json import unique_keys

ROWS_AT_ONCE = 2048
Columns = dict[str, list[Any]]
# From the wanted columns of some rows to their new ones, each as long.
Answer = Callable[[Sequence[list[str]]], Columns]


def kind_of(path: Path) -> str:
    """Its extension. Raises :class:`DataError` for one that cannot be read and written."""
    suffix = path.suffix.lower()
    if suffix not in _COPIES:
        raise DataError(
            "this type of data file is not known",
            where=str(path),
            got=path.suffix or "no extension",
            expected=f"one of {', '.join(_COPIES)}",
            fix="save the data in one of these formats, with the matching extension",
        )
    return suffix


def copy_with(
    source: Path, target: IO[bytes], *, wanted: Sequence[str], new: Sequence[str], answer: Answer
) -> None:
    """Write ``source`` to ``target`` with the columns ``new`` that ``answer`` gives for ``wanted``.

    Raises :class:`DataError`, with the line, for what cannot be read, a wanted column that is not
    there, an empty text, and a column that has the name of a new one.
    """
    try:
        _COPIES[kind_of(source)](source, target, _Asking(source, wanted, new, answer))
    except UnicodeDecodeError as error:
        raise DataError(
            "the data file is broken",
            where=str(source),
            got=guess_encoding(error.object),
            expected="UTF-8 text",
            fix=SAVE_AS_UTF8,
        ) from error


class _Asking:
    """Checks what a file holds, and asks for the new columns of some of its rows."""

    def __init__(
        self, path: Path, wanted: Sequence[str], new: Sequence[str], answer: Answer
    ) -> None:
        self.path = path
        self.wanted = list(dict.fromkeys(wanted))
        self.new = list(new)
        self._answer = answer

    def check_names(self, names: Iterable[str]) -> None:
        """Raise :class:`DataError` for a column that would be written twice."""
        taken = sorted({*names} & {*self.new})
        if taken:
            raise DataError(
                "the file has a column of that name already",
                where=str(self.path),
                got=repr(taken[0]),
                expected=f"none of {', '.join(map(repr, self.new))}, which are written",
                fix="rename the column",
            )

    def __call__(self, table: Table) -> Columns:
        check_table(table, self.wanted, self.path)
        texts = [strings_of(table, name, what="text", is_id=False) for name in self.wanted]
        found = self._answer(texts)
        return {name: found[name] for name in self.new}


def _copy_csv(path: Path, target: IO[bytes], asking: _Asking) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        rows = _csv_rows(reader, path)
        _, header = next(rows, ("", []))
        if len({*header}) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            expected = "a different name for each column"
            raise broken_file(path, 1, f"column {twice!r} twice", expected)
        check_separator(header, asking.wanted, path)
        asking.check_names(header)
        write_csv_lines(text, [[*header, *asking.new]])
        for places, chunk in _chunks(_as_wide(rows, header, path)):
            columns = {
                name: [row[header.index(name)] for row in chunk]
                for name in asking.wanted
                if name in header
            }
            new = asking(Table(names=header, columns=columns, places=places))
            added = zip(*new.values(), strict=True)
            write_csv_lines(text, ([*row, *more] for row, more in zip(chunk, added, strict=True)))
    text.detach()  # whoever opened it closes it


def _csv_rows(reader: Any, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Every row that is not empty, and where it begins."""
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            limit = f"no field over {csv.field_size_limit():,} characters"
            raise broken_file(
                path, start, str(error), f"every quote closed, and {limit}"
            ) from error
        if row:
            yield f"{path}:{start}", row


def _as_wide(
    rows: Iterable[tuple[str, list[str]]], header: list[str], path: Path
) -> Iterator[tuple[str, list[str]]]:
    for place, row in rows:
        if len(row) != len(header):
            line = int(place.rpartition(":")[2])
            expected = f"{len(header)} fields, as in the first line"
            raise broken_file(path, line, f"{len(row)} fields", expected)
        yield place, row


def _copy_json_lines(path: Path, target: IO[bytes], asking: _Asking) -> None:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for places, chunk in _chunks(_objects(file, path)):
            names = list(dict.fromkeys(name for row in chunk for name in row))
            asking.check_names(names)
            columns = {
                name: [row.get(name) for row in chunk] for name in asking.wanted if name in names
            }
            new = asking(Table(names=names, columns=columns, places=places))
            for place, row, *added in zip(places, chunk, *new.values(), strict=True):
                target.write(_json_line({**row, **dict(zip(new, added, strict=True))}, place))


def _json_line(row: Mapping[str, Any], place: str) -> bytes:
    """The row as JSON that any reader takes: no half of a character, no NaN and no Infinity."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (ValueError, RecursionError) as error:  # ValueError is what it cannot encode, too
        raise DataError(
            "the row cannot be written as JSON",
            where=place,
            got=error,
            expected="text of whole characters, and numbers that are finite",
            fix="mend that value, or write null",
        ) from error


def _objects(lines: Iterable[str], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        expected = "one JSON object on each line"
        try:
            value = json.loads(line.removeprefix("\ufeff"), object_pairs_hook=unique_keys)
        except (ValueError, RecursionError) as error:
            raise broken_file(path, number, str(error), expected) from error
        if not isinstance(value, dict):
            raise broken_file(path, number, repr(line[:60]), expected)
        yield f"{path}:{number}", value


def _copy_parquet(path: Path, target: IO[bytes], asking: _Asking) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as parquet:
            names, row = parquet.schema_arrow.names, 0
            asking.check_names(names)
            writer = None
            for batch in parquet.iter_batches(batch_size=ROWS_AT_ONCE):
                places = [f"{path}, row {row + i}" for i in range(1, batch.num_rows + 1)]
                row += batch.num_rows
                columns = {
                    name: batch.column(name).to_pylist() for name in asking.wanted if name in names
                }
                new = asking(Table(names=names, columns=columns, places=places))
                whole = batch
                for name, values in new.items():
                    whole = whole.append_column(name, pyarrow.array(values))
                writer = writer or pyarrow.parquet.ParquetWriter(target, whole.schema)
                writer.write_batch(whole)
            if writer is None:
                asking(Table(names=names, columns={}, places=[]))
            else:
                writer.close()
    except pyarrow.ArrowException as error:
        raise DataError(
            "the data file is broken", where=str(path), got=error, fix="write the file again"
        ) from error


def _chunks(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[list[str], list[Any]]]:
    """Places and rows, some at a time; once with none where there are none, which is refused."""
    stream = iter(rows)
    chunk = list(itertools.islice(stream, ROWS_AT_ONCE))
    yield [place for place, _ in chunk], [row for _, row in chunk]
    while chunk := list(itertools.islice(stream, ROWS_AT_ONCE)):
        yield [place for place, _ in chunk], [row for _, row in chunk]


_COPIES: Mapping[str, Callable[[Path, IO[bytes], _Asking], None]] = {
    ".csv": _copy_csv,
    ".jsonl": _copy_json_lines,
    ".json": _copy_json_lines,
    ".parquet": _copy_parquet,
}
