"""The ``[task]`` section of a configuration."""

import datetime
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.section import Section, Tokens
from fedtt.task_kinds import TASK_KINDS

# kind of a named source -> the kinds of [task] that it is for, the first where none is given
KINDS_OF_SOURCES: Mapping[str, tuple[str, ...]] = {
    "classification": ("classification", "label-words"),
    "regression": ("regression",),
    "generation": ("generation",),
}


class TaskConfig(Section):
    """``[task]``: what the model learns."""

    kind: Annotated[str, AfterValidator(TASK_KINDS.check)] = Field(
        "classification",
        description="by a head: `classification`, `regression`; of causal language models: "
        "`label-words`, `language-modeling`, `generation`; left out: the source's; "
        "`classification`",
    )
    prompt: str | None = Field(
        None,
        description="label-words: a text with `{text}` and, of pairs, `{pair}`, without the "
        "class's word at its end; generation: a column, or a text with columns in "
        "braces; left out: the source's; `prompt`",
    )
    words: tuple[str, ...] | None = Field(
        None,
        description="label-words: a word for each class, in order, one token each; left out: the "
        "source's",
    )
    completion: str | None = Field(
        None, description="generation: the column to learn, or `column.key`; left out: `completion`"
    )
    messages: str | None = Field(
        None, description="generation: the column with chats, in place of `prompt` and `completion`"
    )
    date: datetime.date | None = Field(
        None,
        description="generation with `messages`: what a chat template that writes the date "
        "writes; saved with the run; left out: the day on which the run begins",
    )
    answers: Literal["squad", "drop"] | None = Field(
        None,
        description="generation: also generate, and score against the right answers as this rule "
        "does",
    )
    max_new_tokens: Tokens | None = Field(
        None, description="generation with `answers`: tokens to generate; left out: 32"
    )

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        unfit = given - {"kind"} - TASK_KINDS[self.kind].keys
        if unfit:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(sorted(unfit))}")
        if self.messages is not None and given & {"prompt", "completion", "answers"}:
            raise ValueError("messages take the place of prompt, completion and answers")
        if self.date is not None and self.messages is None:
            raise ValueError("date is what a chat template writes, and goes with messages")
        return self

    @property
    def has_classes(self) -> bool:
        """Whether examples are labeled with classes."""
        return TASK_KINDS[self.kind].reads == "labels"
