"""What every section of a configuration is, and the numbers that they share.

No number is without a bound: what is absurd is refused here, by its key, before anything of that
size is asked of the machine. The bounds are far above what anybody has used.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
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


class CommandLineText(str):
    """Text of a command line, where a shell takes quotes away: it may be meant as a number."""

    __slots__ = ()


class Section(BaseModel):
    """Base of every section: frozen; no unknown key, NaN or infinity, and no value of another type
    than the key's, but for a whole number where any number may be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _of_its_own_type(cls, value: object, read: ValidatorFunctionWrapHandler) -> object:
        """Pydantic makes 1 of true and of "1", and true of "yes" and of 1: a file means none."""
        result = read(value)
        problem = next(_changed_types(value, result), None)
        if problem is not None:
            raise ValueError(problem)
        return result


def _changed_types(given: Any, read: Any) -> Iterator[str]:
    """What is to be said of each value that became one of another type as it was read."""
    if isinstance(given, Mapping):
        if isinstance(read, Mapping):
            for key in given.keys() & read.keys():
                yield from _changed_types(given[key], read[key])
    elif isinstance(read, tuple | list):
        several = given if isinstance(given, tuple | list) else (given,)
        for one, one_read in zip(several, read, strict=False):
            yield from _changed_types(one, one_read)
    else:
        # NumPy's numbers are numbers.
        problem = _changed(given.item() if getattr(given, "ndim", None) == 0 else given, read)
        if problem is not None:
            yield problem


def _changed(given: object, read: object) -> str | None:
    if type(given) is type(read) or isinstance(given, CommandLineText):
        return None
    if isinstance(read, bool):
        return "expected true or false, without quotes"
    if isinstance(read, date):
        is_number = isinstance(given, int | float)
        return "a number is no date: write one such as 2026-01-31" if is_number else None
    return _no_number(given, read) if isinstance(read, int | float) else None


def _no_number(given: object, read: float) -> str | None:
    if isinstance(given, bool):
        return "true and false are no numbers"
    if isinstance(given, str | bytes):
        return "text is no number: write it without quotes"
    if isinstance(read, int) and not isinstance(given, int):
        return f"this has to be a whole number: write {read}"
    return None
