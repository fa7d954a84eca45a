"""The rows of one split from the Hugging Face hub, through the datasets library."""

from fedtt.data.named.named_task import NamedTask
from fedtt.data.named.rows import Rows
from fedtt.data.named.split_files import check_columns
from fedtt.data.tables import Table
from fedtt.errors import DataError


def read_hub_split(task: NamedTask, split: str) -> Rows:
    """The rows of a split, downloaded on the first use; code of a hub repository is never run.

    Raises:
        DataError: the hub cannot be reached or has no such data, or a column is missing.
    """
    # Imported here: it takes seconds, and files in a directory do without it.
    import datasets

    try:
        data = datasets.load_dataset(
            task.hub_id, task.hub_config, split=split, revision=task.hub_revision
        )
        columns = {name: data[name][:] for name in data.column_names if name in task.read_columns}
    except Exception as error:  # the libraries below have no exception class in common
        config = f", configuration {task.hub_config}" if task.hub_config else ""
        reason = str(error).strip().splitlines()
        raise DataError(
            f"{task.name} cannot be had from the hub",
            where=f"{task.hub_id}{config}, split {split}",
            got=f"{type(error).__name__}: {reason[0] if reason else 'no reason given'}",
            expected="the hub, or a copy in the cache of the datasets library",
            fix=f"connect to the network; or download {task.train_split} and {task.test_split} "
            'of it as parquet, CSV or JSONL files and set data.directory = "FOLDER"',
        ) from error
    where = f"{task.hub_id}/{task.hub_config or 'default'}/{split}"
    places = [f"{where}, row {row}" for row in range(1, len(data) + 1)]
    table = Table(names=data.column_names, columns=columns, places=places)
    check_columns(task, table, where=where)
    return Rows(table=table, textual=False)
