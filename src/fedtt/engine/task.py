"""From ``[task]`` to the task: what the model learns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from fedtt.config import TaskConfig
from fedtt.tasks import Task, classification, generation, label_words, language_modeling

MAX_NEW_TOKENS = 32

# task.kind -> the key of models.TASK_CLASSES that its models are of
MODEL_CLASSES: Mapping[str, str] = {
    "classification": "classification",
    "label-words": "causal",
    "language-modeling": "causal",
    "generation": "causal",
}


def build_task(
    config: TaskConfig, *, tokenizer: PreTrainedTokenizerBase, label_names: Sequence[str]
) -> Task:
    """The task, for texts that the tokenizer reads and classes of these names.

    Raises :class:`ConfigError` where prompt or words do not fit tokenizer or classes.
    """
    return BUILDERS[config.kind](config, tokenizer, label_names)


def _classification(config: TaskConfig, tokenizer: Any, label_names: Sequence[str]) -> Task:  # noqa: ARG001 (all builders have these)
    return classification(tokenizer=tokenizer, pad_token_id=int(tokenizer.pad_token_id))


def _label_words(config: TaskConfig, tokenizer: Any, label_names: Sequence[str]) -> Task:
    return label_words(
        tokenizer=tokenizer,
        pad_token_id=int(tokenizer.pad_token_id),
        prompt=config.prompt or "",
        words=config.words or (),
        label_names=label_names,
    )


def _language_modeling(config: TaskConfig, tokenizer: Any, label_names: Sequence[str]) -> Task:  # noqa: ARG001 (all builders have these)
    return language_modeling(tokenizer=tokenizer, pad_token_id=int(tokenizer.pad_token_id))


def _generation(config: TaskConfig, tokenizer: Any, label_names: Sequence[str]) -> Task:  # noqa: ARG001 (all builders have these)
    return generation(
        tokenizer=tokenizer,
        pad_token_id=int(tokenizer.pad_token_id),
        chat=config.messages is not None,
        answers=config.answers,
        max_new_tokens=config.max_new_tokens or MAX_NEW_TOKENS,
    )


BUILDERS: Mapping[str, Callable[[TaskConfig, Any, Sequence[str]], Task]] = {
    "classification": _classification,
    "label-words": _label_words,
    "language-modeling": _language_modeling,
    "generation": _generation,
}
