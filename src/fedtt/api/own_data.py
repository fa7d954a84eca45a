"""Data that is in memory already: kept as a file, so that a run can be taken up again."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from datasets import Dataset

from fedtt.atomic_write import replace_file
from fedtt.errors import ConfigError, DataError, RunError

Examples: TypeAlias = pd.DataFrame | Dataset
FOLDER = "data"
OWNER_ALONE = 0o600


def keep_examples(examples: Examples, beside: Path) -> Path:
    """Write the rows to ``beside/data/DIGEST.parquet``, for its owner alone; the file's path.

    The same rows are one file. Raises :class:`DataError` for what is no table or has no rows,
    :class:`RunError` where it cannot be written.
    """
    frame = examples.to_pandas() if isinstance(examples, Dataset) else examples
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "the data is no table",
            where="data=",
            got=type(examples).__name__,
            expected="a pandas.DataFrame, or a datasets.Dataset (of a DatasetDict: one split)",
        )
    if frame.empty:
        raise DataError("the data has no rows", where="data=", expected="one row an example")
    content = frame.to_parquet(index=False)
    path = (beside / FOLDER).absolute() / f"{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, mode=OWNER_ALONE)
    except OSError as error:
        raise RunError(
            "cannot write the data beside the run", where=str(path), got=error
        ) from error
    return path


def with_path(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The configuration with that ``data.path``; it must not name an origin itself."""
    section = dict(table.get("data", {}))
    for key in ("source", "path"):
        if section.get(key) is not None:
            raise ConfigError(
                "the data is given twice",
                where=f"data.{key}",
                got=f"{section[key]!r}, and data=",
                fix=f"leave data.{key} out of the configuration, or data= out of the call",
            )
    return {**table, "data": {**section, "path": str(path)}}
