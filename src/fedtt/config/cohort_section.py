"""The ``[cohort]`` section of a configuration."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from fedtt.section import Clients, Probability, Section


def _count_or_auto(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """A union of types would refuse a value with one message for each of them."""
    try:
        return read(value)
    except ValidationError:
        raise ValueError("input should be a whole number, 1 or more, or 'auto'") from None


class CohortConfig(Section):
    """``[cohort]``: who takes part in a round."""

    size: Clients | None = Field(
        None, description="clients a round, sampled without replacement; left out: everyone"
    )
    dropout: Probability = Field(
        0.0,
        description="probability that a client which was called never answers; its download is "
        "counted",
    )
    batched: Literal["auto", "off"] = Field(
        "auto",
        description="`auto`: clients train together, in one step, where their method can; `off`: "
        "one by one",
    )
    max_tokens: Annotated[
        Annotated[int, Field(ge=1, le=10**9, strict=True)] | Literal["auto"],
        WrapValidator(_count_or_auto),
    ] = Field(
        "auto",
        description="the most tokens, padding included, that go through the model at once while "
        "clients train together; `auto`: what fits an eighth of the memory, at most "
        "4,096 on a CPU and 65,536 elsewhere",
    )
