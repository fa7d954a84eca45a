"""The ``[wire]`` section of a configuration."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.federated.wire.codec import CODECS, PLAIN_CODEC
from fedtt.section import Section


class WireConfig(Section):
    """``[wire]``: how updates travel."""

    codec: Annotated[str, AfterValidator(CODECS.check)] = Field(
        PLAIN_CODEC,
        description="what the clients' updates are encoded by: `plain` (every number in its own "
        "type), `sign` 1 bit. `int2` and `sign` go with the mean only",
    )
    downlink: Annotated[str, AfterValidator(CODECS.check)] = Field(
        PLAIN_CODEC,
        description="what the server's step of a round is encoded by; the server moves by what it "
        "decodes to, like the clients. Not with `fedex-lora`, nor with ranks of the clients' own",
    )
    block: Annotated[int, Field(ge=1, le=65_536)] = Field(
        128,
        description="numbers that share a scale of two bytes: of `int8`, `int4`, `int2`, `sign`",
    )
    rounding: Literal["stochastic", "nearest"] | None = Field(
        None,
        description="`stochastic`: up or down by chance, right in the mean. `int2` and `sign` "
        "take the automatic one only; left out: stochastic, with `error_feedback` "
        "nearest for updates",
    )
    deflate: bool = Field(
        default=True, description="make what a codec but `plain` wrote smaller still, by zlib"
    )
    error_feedback: bool = Field(
        default=False,
        description="a client adds what its last update lost to its next one; not with "
        "`cohort.size`, `method.subspace` or `plain`",
    )

    @model_validator(mode="after")
    def _nothing_is_lost_for_good(self) -> Self:
        row, spelled = CODECS[self.codec], f"codec = {self.codec!r}"
        if CODECS[self.downlink].coarse and self.rounding == "nearest":
            raise ValueError(
                f"downlink = {self.downlink!r} with rounding = 'nearest' loses the same part of "
                "every step; leave rounding out"
            )
        if self.error_feedback and not row.lossy:
            raise ValueError(f"{spelled} loses nothing that error_feedback could send later")
        if row.coarse and not self.error_feedback and not self.is_stochastic:
            raise ValueError(
                f"{spelled} with rounding = {self.rounding!r} loses the same part of every update, "
                "and no mean brings it back; leave rounding out, or take error_feedback = true"
            )
        if row.coarse and self.error_feedback and self.is_stochastic:
            raise ValueError(
                f"{spelled} by chance adds more noise than there is update, and error_feedback "
                "would send the noise again, and more with it; leave rounding out"
            )
        return self

    @property
    def is_stochastic(self) -> bool:
        """Whether numbers are rounded by chance."""
        default = "nearest" if self.error_feedback else "stochastic"
        return (self.rounding or default) == "stochastic"
