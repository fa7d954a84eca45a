"""A named task as the data of one client and the test set that stands beside it."""

from pathlib import Path

from fedtt.data.examples import LabeledTexts, RawData
from fedtt.data.named.catalog import find_task
from fedtt.data.named.hub import read_hub_split
from fedtt.data.named.named_task import NamedTask
from fedtt.data.named.rows import Rows
from fedtt.data.named.split_files import read_split_files
from fedtt.errors import DataError


def load_named(name: str, *, directory: str | Path | None = None) -> RawData:
    """The training split as one client, called as the task, and the test set that all share.

    The test set is ``test_split`` of the task, whole. From the files in ``directory``, or from the
    hub where none is given.

    Raises:
        DataError: there is no such task, its data cannot be had, or a row of it cannot be used;
            the message has the line or row.
    """
    task = find_task(name)
    splits = {
        split: load_named_split(name, split, directory=directory)
        for split in (task.train_split, task.test_split)
    }
    return RawData(
        name=task.name,
        label_names=task.label_names,
        texts_by_client={task.name: splits[task.train_split]},
        notes=_notes(task, splits, directory),
        shared_test=splits[task.test_split],
    )


def load_named_split(name: str, split: str, *, directory: str | Path | None = None) -> LabeledTexts:
    """One split of a task alone, such as ``validation_mismatched`` of ``mnli``.

    Raises :class:`DataError` as :func:`load_named` does, and for a split that the task has not.
    """
    task = find_task(name)
    known = (*task.splits, *task.hidden_splits)
    if split not in known:
        raise DataError(
            f"{task.name} has no such split",
            got=repr(split),
            expected=f"one of {', '.join(known)}",
            fix="name one of these",
        )
    return task.convert(task, _read(task, split, directory))


def _read(task: NamedTask, split: str, directory: str | Path | None) -> Rows:
    if directory is None:
        return read_hub_split(task, split)
    return read_split_files(task, split, Path(directory))


def _notes(
    task: NamedTask, splits: dict[str, LabeledTexts], directory: str | Path | None
) -> tuple[str, ...]:
    origin = "the hub's " + task.hub_id if directory is None else "files of the directory"
    notes = [f"{task.name}: read from {origin}; the test set is the split {task.test_split!r}."]
    if task.test_split in task.splits and task.hidden_splits:
        notes[0] += " Labels of the test split itself are not published."
    if task.kind == "regression":
        notes.append("Label shares are those of the score rounded to a whole number.")
    for split, texts in splits.items():
        sides = (texts.texts, texts.pairs or texts.texts)
        empty = sum(not a.strip() or not b.strip() for a, b in zip(*sides, strict=True))
        if empty:
            notes.append(f"{split}: {empty:,} examples have an empty text, as published; kept.")
        if texts.groups is not None:
            groups = len(set(texts.groups))
            notes.append(f"{split}: {len(texts):,} examples in {groups:,} groups.")
    return tuple(notes)
