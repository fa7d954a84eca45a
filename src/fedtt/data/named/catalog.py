"""Every task that is known by name."""

import difflib
from collections.abc import Mapping

from fedtt.data.named.glue import GLUE
from fedtt.data.named.named_task import NamedTask
from fedtt.data.named.questions import QUESTIONS
from fedtt.data.named.superglue import SUPERGLUE
from fedtt.data.named.topics import TOPICS
from fedtt.errors import DataError

TASKS: Mapping[str, NamedTask] = {
    task.name: task for task in (*GLUE, *SUPERGLUE, *TOPICS, *QUESTIONS)
}
SILOS = "sentiment-silos"  # a source of clients, not of splits; see fedtt.data.silos
SOURCES: tuple[str, ...] = (SILOS, *TASKS)


def find_task(name: str) -> NamedTask:
    """The task of that name. Raises :class:`DataError` for a name there is none of."""
    if name not in TASKS:
        close = difflib.get_close_matches(name.casefold(), TASKS, n=1)
        raise DataError(
            "there is no task of this name",
            got=repr(name),
            expected=f"one of {', '.join(TASKS)}",
            fix=f"did you mean {close[0]!r}?" if close else "fedtt data list shows every task",
        )
    return TASKS[name]
