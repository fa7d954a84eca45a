"""Which columns hold the texts that a run's model is asked about."""

from fedtt.config import DataConfig
from fedtt.data import SILOS, TASKS

PAIR = ("text", "pair")  # as a prompt of label words calls them


def asked_columns(data: DataConfig) -> tuple[str, ...]:
    """One column, or two where the run was trained on pairs of texts.

    Of a named task with pairs they are its own; where its texts are made of more than its columns
    of texts, as a marked word is, they are ``text`` and ``pair``.
    """
    if data.source is None or data.source == SILOS or not TASKS[data.source].paired:
        return (data.text_column, *([] if data.pair_column is None else [data.pair_column]))
    task = TASKS[data.source]
    return task.text_columns if len(task.text_columns) == 2 and not task.columns else PAIR
