"""The ``[privacy]`` section of a configuration."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from fedtt.federated.privacy.samplings import POISSON, SAMPLINGS
from fedtt.section import Fraction, Positive, Section

Noise = Annotated[float, Field(ge=0.01, le=1000)]
Epsilon = Annotated[float, Field(gt=0, le=100)]
Delta = Annotated[float, Field(gt=0, le=0.1)]


class AdaptiveClippingConfig(Section):
    """``privacy.client.adaptive``: the clipping norm follows a quantile of the updates' norms."""

    target_clipped_quantile: Fraction = Field(
        0.5, description="share of the updates that are to be within the clipping norm"
    )
    clip_norm_lr: Annotated[float, Field(gt=0, le=10)] = Field(
        0.2, description="how fast the norm follows"
    )
    clipped_count_stddev: Positive | None = Field(
        None,
        description="noise on the number of those within; left out: a twentieth of a round's "
        "clients, and at least the noise multiplier",
    )


class ClientPrivacyConfig(Section):
    """``privacy.client``: differential privacy of whole clients, by the server's noise."""

    clipping_norm: Positive = Field(
        description="most that the L2 norm of a client's update may be; what is longer is shortened"
    )
    noise_multiplier: Noise | None = Field(
        None, description="standard deviation of the noise on the sum, over the clipping norm"
    )
    target_epsilon: Epsilon | None = Field(
        None,
        description="without noise_multiplier: as much noise as all rounds need; with it: the run "
        "ends before it spends more",
    )
    delta: Delta = Field(description="less than 1 over the number of clients")
    sampling: str = Field(
        "poisson",
        description="poisson: every client by itself, cohort.size of them on average; fixed: "
        "exactly cohort.size",
    )
    accountant: str | None = Field(
        None, description="pld (poisson only) or rdp; left out: pld where it goes"
    )
    adaptive: AdaptiveClippingConfig | None = None

    @model_validator(mode="after")
    def _known_and_enough(self) -> Self:
        SAMPLINGS.check(self.sampling)
        known = SAMPLINGS[self.sampling].accountants
        if self.accountant is not None and self.accountant not in known:
            raise ValueError(
                f"accountant {self.accountant!r} does not know sampling = {self.sampling!r}; "
                f"known: {', '.join(known)}"
            )
        if self.noise_multiplier is None and self.target_epsilon is None:
            raise ValueError("one of noise_multiplier and target_epsilon is needed, or both")
        return self


class ExamplePrivacyConfig(Section):
    """``privacy.example``: differential privacy of each training example, by the client's noise."""

    clipping_norm: Positive = Field(
        description="most that the L2 norm of an example's gradient may be; what is longer is "
        "shortened"
    )
    noise_multiplier: Noise | None = Field(
        None, description="standard deviation of the noise on a batch's sum, over the clipping norm"
    )
    target_epsilon: Epsilon | None = Field(
        None,
        description="of every client; without noise_multiplier: as much noise as all rounds need, "
        "by the number of its examples; with it: a client takes no part in more rounds than that",
    )
    delta: Delta = Field(description="less than 1 over the number of a client's examples")
    accountant: str | None = Field(
        None,
        description="pld or rdp; left out: pld for up to eight clients of different sizes",
    )

    @model_validator(mode="after")
    def _known_and_enough(self) -> Self:
        known = POISSON.accountants
        if self.accountant is not None and self.accountant not in known:
            raise ValueError(f"accountant {self.accountant!r} is none of {', '.join(known)}")
        if self.noise_multiplier is None and self.target_epsilon is None:
            raise ValueError("one of noise_multiplier and target_epsilon is needed, or both")
        return self


class SecureAggregationConfig(Section):
    """``privacy.secure_aggregation``: the server learns the sum of the updates alone."""

    threshold: Annotated[int, Field(ge=3, le=1000)] | None = Field(
        None,
        description="clients that must stay to the end of a round, more than two thirds of it; "
        "left out: two thirds and one",
    )
    value_range: Positive = Field(
        1.0,
        description="largest absolute value that a number of an update may have; what is larger "
        "is cut to it, and counted",
    )
    most_examples: Annotated[int, Field(ge=1, le=4_000_000)] = Field(
        10_000,
        description="with server.weighting = examples: a client that has more counts as this many",
    )


class PrivacyConfig(Section):
    """``[privacy]``: what is guaranteed of the data; nothing by default."""

    client: ClientPrivacyConfig | None = None
    example: ExamplePrivacyConfig | None = None
    secure_aggregation: SecureAggregationConfig | None = None
