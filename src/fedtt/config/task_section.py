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
        "classification", description="default: that of the named source"
    )
    prompt: str | None = Field(
        None,
        description="label-words: text with {text} and, of pairs, {pair} (default: that of the "
        "named source); generation: a column, or text with columns in braces (default: prompt)",
    )
    words: tuple[str, ...] | None = Field(
        None,
        description="label-words: one word of one token for each class, in order (default: those "
        "of the named source)",
    )
    completion: str | None = Field(
        None, description="generation: column, or column.key (default: completion)"
    )
    messages: str | None = Field(
        None, description="generation: column of chats, in place of prompt and completion"
    )
    date: datetime.date | None = Field(
        None,
        description="generation with messages: the day that a chat template writes "
        "(default: the day on which the run begins)",
    )
    answers: Literal["squad", "drop"] | None = Field(
        None, description="generation: also generate, and score by this rule"
    )
    max_new_tokens: Tokens | None = Field(
        None, description="generation with answers: tokens to generate (default: 32)"
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
