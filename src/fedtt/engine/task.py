"""From ``[task]`` and the data's name to the task: what the model learns."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from fedtt.config import TaskConfig
from fedtt.data import TASKS
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
    named = TASKS.get(source or "")
    metrics = named.metrics if named else ()
    pad_token_id = int(tokenizer.pad_token_id)
    if config.kind == "regression":
        return regression(tokenizer=tokenizer, pad_token_id=pad_token_id)
    if config.kind == "language-modeling":
        return language_modeling(tokenizer=tokenizer, pad_token_id=pad_token_id)
    if config.kind == "generation":
        return generation(
            tokenizer=tokenizer,
            pad_token_id=pad_token_id,
            chat=config.messages is not None,
            answers=named.answers if named else config.answers,
            max_new_tokens=config.max_new_tokens or MAX_NEW_TOKENS,
            today=config.date,
        )
    if config.kind == "classification":
        return classification(tokenizer=tokenizer, pad_token_id=pad_token_id, metrics=metrics)
    return label_words(
        tokenizer=tokenizer,
        pad_token_id=pad_token_id,
        prompt=config.prompt or (named.prompt if named else ""),
        words=config.words or (named.verbalizer if named else ()),
        label_names=label_names,
        metrics=metrics,
    )


def output_names(config: TaskConfig, *, label_names: Sequence[str]) -> list[str]:
    """What each output of a sequence classifier stands for: a class, or the number."""
    return ["number"] if config.kind == "regression" else list(label_names)
