"""From ``[task]`` and the data's name to the task: what the model learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from fedtt.config import TaskConfig
from fedtt.data import TASKS, NamedTask
from fedtt.tasks import (
    Task,
    classification,
    generation,
    label_words,
    language_modeling,
    regression,
)

MAX_NEW_TOKENS = 32

# task.kind -> the key of models.TASK_CLASSES that its models are of
MODEL_CLASSES: Mapping[str, str] = {
    "classification": "classification",
    "regression": "classification",
    "label-words": "causal",
    "language-modeling": "causal",
    "generation": "causal",
}


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
    build = BUILDERS[_kind(config, source)]
    return build(config, TASKS.get(source or ""), tokenizer, label_names)


def output_names(
    config: TaskConfig, *, source: str | None, label_names: Sequence[str]
) -> list[str]:
    """What each output of a sequence classifier stands for: a class, or the number."""
    return ["number"] if _kind(config, source) == "regression" else list(label_names)


def _kind(config: TaskConfig, source: str | None) -> str:
    named = TASKS.get(source or "")
    classified = config.kind == "classification"
    return named.kind if named is not None and classified else config.kind


def _classification(
    config: TaskConfig,  # noqa: ARG001 (all builders have these)
    named: NamedTask | None,
    tokenizer: Any,
    label_names: Sequence[str],  # noqa: ARG001
) -> Task:
    return classification(
        tokenizer=tokenizer,
        pad_token_id=int(tokenizer.pad_token_id),
        metrics=named.metrics if named else (),
    )


def _regression(
    config: TaskConfig,  # noqa: ARG001 (all builders have these)
    named: NamedTask | None,  # noqa: ARG001
    tokenizer: Any,
    label_names: Sequence[str],  # noqa: ARG001
) -> Task:
    return regression(tokenizer=tokenizer, pad_token_id=int(tokenizer.pad_token_id))


def _label_words(
    config: TaskConfig, named: NamedTask | None, tokenizer: Any, label_names: Sequence[str]
) -> Task:
    return label_words(
        tokenizer=tokenizer,
        pad_token_id=int(tokenizer.pad_token_id),
        prompt=config.prompt or (named.prompt if named else ""),
        words=config.words or (named.verbalizer if named else ()),
        label_names=label_names,
        metrics=named.metrics if named else (),
    )


def _language_modeling(
    config: TaskConfig,  # noqa: ARG001 (all builders have these)
    named: NamedTask | None,  # noqa: ARG001
    tokenizer: Any,
    label_names: Sequence[str],  # noqa: ARG001
) -> Task:
    return language_modeling(tokenizer=tokenizer, pad_token_id=int(tokenizer.pad_token_id))


def _generation(
    config: TaskConfig,
    named: NamedTask | None,  # noqa: ARG001 (all builders have these)
    tokenizer: Any,
    label_names: Sequence[str],  # noqa: ARG001
) -> Task:
    return generation(
        tokenizer=tokenizer,
        pad_token_id=int(tokenizer.pad_token_id),
        chat=config.messages is not None,
        answers=config.answers,
        max_new_tokens=config.max_new_tokens or MAX_NEW_TOKENS,
    )


Builder = Callable[[TaskConfig, NamedTask | None, Any, Sequence[str]], Task]
BUILDERS: Mapping[str, Builder] = {
    "classification": _classification,
    "regression": _regression,
    "label-words": _label_words,
    "language-modeling": _language_modeling,
    "generation": _generation,
}
