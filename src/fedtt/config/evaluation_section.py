"""The ``[evaluation]`` section of a configuration."""

from typing import Self

from pydantic import Field, model_validator

from fedtt.section import BatchSize, Examples, RoundsOrNone, Section


class EvaluationConfig(Section):
    """``[evaluation]``: what is measured, and when."""

    every: RoundsOrNone = Field(1, description="rounds between validations; 0: never")
    batch_size: BatchSize = Field(64, description="texts at once")
    validation_examples: Examples | None = Field(
        None,
        description="at most so many a client in each validation; the test split is always whole; "
        "left out: all",
    )
    alone: bool | None = Field(
        None,
        description="also train every client alone for the same steps, as a baseline; left out: "
        "where everyone takes part in every round and there are at most 10 clients",
    )
    before: bool = Field(default=True, description="measure the test split before training too")
    test: bool = Field(
        default=True,
        description="measure the test split; `false`: it is never looked at, as when "
        "hyper-parameters are chosen",
    )

    @model_validator(mode="after")
    def _alone_needs_test(self) -> Self:
        if self.alone and not self.test:
            raise ValueError("alone is measured on the test split, and test = false")
        return self
