"""What every section of a configuration is, and the numbers that they share.

No number is without a bound: what is absurd is refused here, by its key, before anything of that
size is asked of the machine. The bounds are far above what anybody has used.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

# What TOML promises to hold, and random streams take.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rounds = Annotated[int, Field(ge=1, le=1_000_000)]
RoundsOrNone = Annotated[int, Field(ge=0, le=1_000_000)]
Passes = Annotated[int, Field(ge=1, le=1_000_000)]  # of one client in one round
Clients = Annotated[int, Field(ge=1, le=10_000_000)]
Examples = Annotated[int, Field(ge=1, le=1_000_000_000)]
BatchSize = Annotated[int, Field(ge=1, le=1_000_000)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]  # of one text
Numbers = Annotated[int, Field(ge=1, le=1_000_000_000)]  # that train in a subspace
Rank = Annotated[int, Field(ge=1, le=16_384)]
Width = Annotated[int, Field(ge=1, le=65_536)]  # of a layer, or one of its modes
NumBytes = Annotated[int, Field(ge=1, lt=2**63)]
Seconds = Annotated[float, Field(gt=0, le=100_000_000)]  # three years; no clock waits for ever

Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Strength = Annotated[float, Field(ge=0, le=1e12)]  # 0: none
Positive = Annotated[float, Field(gt=0, le=1e12)]
Rate = Annotated[float, Field(gt=0, le=3e38)]  # as far as float32 goes


class Section(BaseModel):
    """Base of every section: frozen; no unknown key, NaN, infinity, or boolean for a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _true_is_no_number(
        cls, value: object, read: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """To Python, and so to pydantic, true is 1 and false is 0."""
        result = read(value)
        wanted = set(_types_in(cls.model_fields[info.field_name or ""].annotation))
        if wanted & {int, float} and not wanted & {bool, Any} and _holds_boolean(value):
            raise ValueError("true and false are no numbers")
        return result


def _types_in(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _holds_boolean(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_boolean, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_boolean, value))
    return isinstance(value, bool)
