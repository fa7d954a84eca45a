"""Data that is in memory already: kept as a file, so that a run can be taken up again."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from datasets import ClassLabel, Dataset

from fedtt.atomic_write import replace_file
from fedtt.config import RunConfig
from fedtt.data.files import CLIENT_COLUMN, taken_for_client
from fedtt.errors import ConfigError, DataError, RunError

Examples: TypeAlias = pd.DataFrame | Dataset
FOLDER = "fedtt-data"
OWNER_ALONE = 0o600


@dataclass(frozen=True, kw_only=True)
class KeptExamples:
    """A file that is to lie at ``path``: the same rows are one file."""

    path: Path
    content: bytes = field(repr=False)

    def write(self) -> bool:
        """Whether the file is new. Its owner alone reads it. Raises :class:`RunError`."""
        if self.path.exists():
            return False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, self.content, mode=OWNER_ALONE)
        except OSError as error:
            raise RunError(
                "cannot write the data beside the run", where=str(self.path), got=error
            ) from error
        return True

    def remove(self) -> None:
        """Take the file away, and the folder if nothing else is in it."""
        self.path.unlink()
        with suppress(OSError):  # it holds other runs' data
            self.path.parent.rmdir()


def pack_examples(examples: Examples, *, columns: set[str] | None, beside: Path) -> KeptExamples:
    """Those of the ``columns`` that there are (None: all), as the file that will hold them.

    Raises :class:`DataError` for what is no table, has no rows, or cannot be a file.
    """
    frame = frame_of(examples)
    if frame.empty:
        raise DataError("the data has no rows", where="data=", expected="one row an example")
    if columns is not None:
        # Whoever reads the file refuses a column that is only taken for the clients' own.
        alike = taken_for_client(frame.columns) if CLIENT_COLUMN in columns else []
        wanted = columns.union(alike)
        frame = frame.loc[:, [name for name in frame.columns if name in wanted]]
    twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
    if twice:
        raise DataError("two columns of one name", where="data=", got=", ".join(twice))
    plain = pd.DataFrame(frame)
    plain.attrs = {}
    try:
        content = plain.to_parquet(index=False)
    except (ValueError, TypeError) as error:  # pyarrow's are of these
        raise DataError(
            "the data cannot be written as a table",
            where="data=",
            got=str(error).splitlines()[0],
            expected="columns of one kind each: texts, whole numbers",
        ) from error
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    return KeptExamples(path=beside.absolute() / FOLDER / name, content=content)


def columns_of(config: RunConfig) -> set[str] | None:
    """The columns that the configuration reads: the others stay in memory. None where a prompt may
    name any.
    """
    data, partition = config.data, config.partition
    if config.task.kind == "generation":
        return None
    named = {data.text_column, data.pair_column, data.label_column, data.client_column}
    if partition is not None:
        named.add(partition.column)
    return {name for name in named if name is not None}


def with_path(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration with that ``data.path``; it must not name an origin itself."""
    section = table.get("data", {})
    if not isinstance(section, Mapping):
        return dict(table)  # no section: whoever reads the configuration says so
    for key in ("source", "path"):
        if section.get(key) is not None:
            raise ConfigError(
                "the data is given twice",
                where=f"data.{key}",
                got=f"{section[key]!r}, and data=",
                fix=f"leave data.{key} out of the configuration, or data= out of the call",
            )
    return {**table, "data": {**section, "path": str(path)}}


def frame_of(examples: Examples) -> pd.DataFrame:
    """The examples as a table, classes by their names. Raises :class:`DataError`."""
    if isinstance(examples, pd.DataFrame):
        return examples
    if not isinstance(examples, Dataset):
        raise DataError(
            "the data is no table",
            where="data=",
            got=type(examples).__name__,
            expected="a pandas.DataFrame, or a datasets.Dataset (of a DatasetDict: one split)",
        )
    frame: pd.DataFrame = examples.to_pandas()
    for name, feature in examples.features.items():
        if isinstance(feature, ClassLabel):
            names = dict(enumerate(feature.names))
            frame[name] = frame[name].map(names)
    return frame
