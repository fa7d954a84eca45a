"""The files of one split in a directory, whatever their format and however many they are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fedtt.data.named.named_task import NamedTask
from fedtt.data.named.rows import Rows
from fedtt.data.tables import Table, read_table
from fedtt.errors import DataError

SUFFIXES = (".parquet", ".csv", ".jsonl", ".json")
_NAME = re.compile(r"(?P<split>\w+?)(?:-(?P<part>\d+)-of-(?P<parts>\d+))?")


def read_split_files(task: NamedTask, split: str, directory: Path) -> Rows:
    """The rows of a split: ``train.csv``, or ``train-00000-of-00002.parquet`` and so on.

    Looked for in ``directory`` and, as in a copy of a hub repository, in its folders ``data`` and
    those named after the task and the hub's configuration.

    Raises:
        DataError: there is no such file, there are two versions of it or a part is missing, or a
            file cannot be read or lacks a column.
    """
    paths = _find(task, split, directory)
    tables = [read_table(path, task.read_columns) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        check_columns(task, table, where=str(path))
    return Rows(table=_concatenate(tables), textual=paths[0].suffix.lower() == ".csv")


def check_columns(task: NamedTask, table: Table, *, where: str) -> None:
    """Raise :class:`DataError` where a table has no rows or lacks a column of the task."""
    missing = [column for column in task.read_columns if column not in table.columns]
    if missing and table.names:
        raise DataError(
            f"the data lacks the column {', '.join(map(repr, missing))} of {task.name}",
            where=where,
            got=f"columns {', '.join(map(repr, table.names))}",
            expected=f"columns {', '.join(map(repr, task.read_columns))}",
            fix=f"use the files of {task.hub_id}, or name your own columns with data.path, "
            "text_column, pair_column and label_column",
        )
    if not table.places:
        raise DataError(
            "the data file holds no examples",
            where=where,
            got="0 rows",
            expected=f"rows with the columns {', '.join(task.read_columns)}",
            fix="download the file again",
        )


def _find(task: NamedTask, split: str, directory: Path) -> Sequence[Path]:
    if not directory.is_dir():
        raise DataError(
            "the directory of the data is not there",
            where=f"{task.name}, data.directory",
            got=str(directory),
            expected="a directory with its files",
            fix="check the path; in a config file it is relative to the file",
        )
    names = dict.fromkeys(("", task.name, task.hub_config or "", "data"))
    folders = [directory / name for name in names if (directory / name).is_dir()]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if _is_data(path)]
    parts: dict[Path, list[Path]] = {}  # folder and name without the part's number -> its files
    for path in files:
        match = _NAME.fullmatch(path.stem)
        if match is not None and match["split"] == split:
            parts.setdefault(path.with_name(f"{split}-{match['parts']}{path.suffix}"), []).append(
                path
            )
    if len(parts) != 1:
        raise _not_one(task, split, directory, files, parts)
    (found,) = parts.values()
    _check_parts(found, split)
    return found


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _not_one(
    task: NamedTask,
    split: str,
    directory: Path,
    files: Sequence[Path],
    parts: Mapping[Path, Sequence[Path]],
) -> DataError:
    several = [str(path.relative_to(directory)) for paths in parts.values() for path in paths]
    seen = [str(path.relative_to(directory)) for path in files]
    return DataError(
        f"there are several versions of the split {split!r} of {task.name}"
        if several
        else f"there is no file with the split {split!r} of {task.name}",
        where=str(directory),
        got=", ".join(several or seen[:10]) or "no data file",
        expected=f"{split}.parquet, {split}.csv, {split}.jsonl or {split}-00000-of-00001.parquet",
        fix="keep one of them" if several else f"put the {split} file there, under this name",
    )


def _check_parts(paths: Sequence[Path], split: str) -> None:
    """Raise :class:`DataError` where a file in numbered parts is not whole."""
    matches = [_NAME.fullmatch(path.stem) for path in paths]
    numbered = [match for match in matches if match is not None and match["parts"]]
    if not numbered:
        return
    total = int(numbered[0]["parts"])
    numbers = [int(match["part"]) for match in numbered]
    if numbers != list(range(total)):
        raise DataError(
            f"the split {split!r} is not whole",
            where=str(paths[0].parent),
            got=", ".join(path.name for path in paths),
            expected=f"{total} parts, numbered from 0",
            fix="download the missing parts",
        )


def _concatenate(tables: Sequence[Table]) -> Table:
    first, *others = tables
    if not others:
        return first
    return replace(
        first,
        columns={
            name: [value for table in tables for value in table.columns[name]]
            for name in first.columns
        },
        places=[place for table in tables for place in table.places],
    )
