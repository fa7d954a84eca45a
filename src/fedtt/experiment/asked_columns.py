"""Which columns hold the texts that a run's model is asked about."""

from fedtt.config import DataConfig
from fedtt.data import TASKS

PAIR = ("text", "pair")  # as a prompt of label words calls them


def asked_columns(data: DataConfig) -> tuple[str, ...]:
    """One column, or two where the run was trained on pairs of texts.

    Of a named task they are its own; where its texts are made of more than its columns of texts, as
    a marked word is, they are ``text`` and ``pair``.
    """
    task = TASKS.get(data.source or "")  # none of the silos either
    if task is None:
        return (data.text_column, *([] if data.pair_column is None else [data.pair_column]))
    asked = PAIR if task.paired else PAIR[:1]
    as_they_are = not task.columns and len(task.text_columns) == len(asked)
    return task.text_columns if as_they_are else asked
