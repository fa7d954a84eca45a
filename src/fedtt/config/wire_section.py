"""The ``[wire]`` section of a configuration."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from fedtt.federated.wire.codec import CODECS, PLAIN_CODEC
from fedtt.section import Section


class WireConfig(Section):
    """``[wire]``: how updates travel."""

    codec: str = Field(PLAIN_CODEC, description="what the clients' updates are encoded by")
    block: Annotated[int, Field(ge=1, le=65_536)] = Field(
        128, description="numbers that share a scale: of int8, int4, int2 and sign"
    )
    rounding: Literal["stochastic", "nearest"] = Field(
        "stochastic",
        description="of every codec but plain; stochastic: up or down by chance, right in the mean",
    )

    @field_validator("codec")
    @classmethod
    def _known_codec(cls, name: str) -> str:
        return CODECS.check(name)

    @model_validator(mode="after")
    def _right_in_the_mean(self) -> Self:
        if CODECS[self.codec].coarse and not self.is_stochastic:
            raise ValueError(
                f"codec = {self.codec!r} with rounding = {self.rounding!r} loses the same part of "
                "every update, and no mean brings it back; leave rounding out"
            )
        return self

    @property
    def is_stochastic(self) -> bool:
        """Whether numbers are rounded by chance."""
        return self.rounding == "stochastic"
