"""From ``[task]`` and the data's name to the task: what the model learns."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from fedtt.config import TaskConfig
from fedtt.data import TASKS
from fedtt.task_kinds import TASK_KINDS
from fedtt.tasks import Task, TaskInputs


def build_task(
    config: TaskConfig,
    *,
    source: str | None,
    tokenizer: PreTrainedTokenizerBase,
    label_names: Sequence[str],
) -> Task:
    """The task, for texts that the tokenizer reads and classes of these names.

    ``source`` is the data's name where it has one: a named task brings its metrics, its prompt and
    its words. Raises :class:`ConfigError` where prompt or words do not fit tokenizer or classes.
    """
    named = TASKS.get(source or "")
    inputs = TaskInputs(
        tokenizer=tokenizer,
        label_names=label_names,
        metrics=named.metrics if named else (),
        prompt=config.prompt or (named.prompt if named else ""),
        words=config.words or (named.verbalizer if named else ()),
        chat=config.messages is not None,
        answers=named.answers if named else config.answers,
        max_new_tokens=config.max_new_tokens,
        today=config.date,
    )
    task: Task = TASK_KINDS[config.kind].build(inputs)
    return task


def model_class_of(config: TaskConfig) -> str:
    """The key of ``models.TASK_CLASSES`` that the task's models are of."""
    return TASK_KINDS[config.kind].model_class


def output_names(config: TaskConfig, *, label_names: Sequence[str]) -> list[str]:
    """What each output of a sequence classifier stands for: a class, or the number."""
    output = TASK_KINDS[config.kind].output
    return list(label_names) if output is None else [output]
