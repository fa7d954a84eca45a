"""The kinds of tasks by name: what a configuration says of each, and where each is built.

A row is light; the file of a task, and torch with it, is imported when one is built.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fedtt.registry import Registry, built_by


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """What there is to know of a kind of task by its name.

    ``model_class`` is a key of ``models.TASK_CLASSES``; ``reads`` what an example of a file has
    beside its text; ``keys`` those of ``[task]`` that it takes; ``output`` what the one output of a
    sequence classifier stands for, None where there is one for each class. ``built_by``,
    ``"module:function"``, makes the task of a :class:`fedtt.tasks.TaskInputs`.
    """

    model_class: Literal["classification", "causal"]
    reads: Literal["labels", "numbers", "nothing", "completions"]
    built_by: str
    keys: frozenset[str] = frozenset()
    output: str | None = None

    @property
    def build(self) -> Callable[[Any], Any]:
        """The function, imported now."""
        build: Callable[[Any], Any] = built_by(self.built_by)
        return build


TASK_KINDS: Registry[TaskKind] = Registry(
    "kind of task",
    {
        "classification": TaskKind(
            model_class="classification",
            reads="labels",
            built_by="fedtt.tasks.classification:build",
        ),
        "regression": TaskKind(
            model_class="classification",
            reads="numbers",
            built_by="fedtt.tasks.regression:build",
            output="number",
        ),
        "label-words": TaskKind(
            model_class="causal",
            reads="labels",
            built_by="fedtt.tasks.label_words:build",
            keys=frozenset({"prompt", "words"}),
        ),
        "language-modeling": TaskKind(
            model_class="causal",
            reads="nothing",
            built_by="fedtt.tasks.language_modeling:build",
        ),
        "generation": TaskKind(
            model_class="causal",
            reads="completions",
            built_by="fedtt.tasks.generation:build",
            keys=frozenset(
                {"prompt", "completion", "messages", "date", "answers", "max_new_tokens"}
            ),
        ),
    },
    group="fedtt.task_kinds",
    accepts=lambda row: isinstance(row, TaskKind),
)
