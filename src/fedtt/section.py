"""What every section of a configuration is, and the numbers that they share.

No number is without a bound: what is absurd is refused here, by its key, before anything of that
size is asked of the machine. The bounds are far above what anybody has used.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
    """Base of every section: frozen, strict about unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)
