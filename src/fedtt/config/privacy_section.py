"""The ``[privacy]`` section of a configuration."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.federated.privacy.samplings import POISSON, SAMPLINGS
from fedtt.section import Fraction, Positive, Section

Noise = Annotated[float, Field(ge=0.01, le=1000)]
Epsilon = Annotated[float, Field(gt=0, le=100)]
Delta = Annotated[float, Field(gt=0, le=0.1)]


class AdaptiveClippingConfig(Section):
    """``privacy.client.adaptive``: the clipping norm follows a quantile of the updates' norms."""

    target_clipped_quantile: Fraction = Field(
        0.5, description="share of the updates that is to be within the norm"
    )
    clip_norm_lr: Annotated[float, Field(gt=0, le=10)] = Field(
        0.2, description="how fast the norm follows"
    )
    clipped_count_stddev: Positive | None = Field(
        None,
        description="noise on the number of those within; left out: a twentieth of a round's "
        "clients, at least `noise_multiplier`",
    )


class ClientPrivacyConfig(Section):
    """``privacy.client``: differential privacy of whole clients, by the server's noise."""

    clipping_norm: Positive = Field(
        description="L2 norm of a client's whole update, clipped by the server"
    )
    noise_multiplier: Noise | None = Field(
        None,
        description="standard deviation of the noise on the sum, over the norm. One of this and "
        "the next, or both",
    )
    target_epsilon: Epsilon | None = Field(
        None,
        description="alone: as much noise as all rounds take; with `noise_multiplier`: the run "
        "ends before it spends more",
    )
    delta: Delta = Field(description="below 1 / clients")
    sampling: Annotated[str, AfterValidator(SAMPLINGS.check)] = Field(
        "poisson",
        description="`poisson`: every client by itself, `cohort.size` of them on average; "
        "`fixed`: exactly so many",
    )
    accountant: str | None = Field(
        None,
        description="dp-accounting's `pld` or `rdp`; `fixed` goes with `rdp` only; left out: "
        "`pld`; fixed: `rdp`",
    )
    adaptive: AdaptiveClippingConfig | None = Field(
        None,
        description="a table: the norm follows a quantile of the updates' norms; left out: none",
    )

    @model_validator(mode="after")
    def _known_and_enough(self) -> Self:
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

    clipping_norm: Positive = Field(description="L2 norm of one example's gradient")
    noise_multiplier: Noise | None = Field(
        None,
        description="standard deviation of the noise on a batch's sum, over the norm. One of this "
        "and the next, or both",
    )
    target_epsilon: Epsilon | None = Field(
        None,
        description="alone: each client has as much noise as all rounds take with its examples; "
        "with `noise_multiplier`: a client takes no part in more rounds than that "
        "allows",
    )
    delta: Delta = Field(description="below 1 / a client's training examples")
    accountant: str | None = Field(
        None,
        description="dp-accounting's `pld` or `rdp`; left out: `pld`; more than 8 sizes of "
        "clients: `rdp`",
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
        description="clients that must stay to the end of a round: more than two thirds; left "
        "out: two thirds and one",
    )
    value_range: Positive = Field(
        1.0,
        description="largest absolute value of a number in an update; what is larger is cut to "
        "it, and counted",
    )
    most_examples: Annotated[int, Field(ge=1, le=4_000_000)] = Field(
        10_000,
        description='with `server.weighting = "examples"`: a client that has more counts as that '
        "many",
    )


class PrivacyConfig(Section):
    """``[privacy]``: what is guaranteed of the data; nothing by default."""

    client: ClientPrivacyConfig | None = Field(
        None, description="of whole clients, a table; left out: none"
    )
    example: ExamplePrivacyConfig | None = Field(
        None,
        description="of single training examples, by each client's own noise, a table; left out: "
        "none",
    )
    secure_aggregation: SecureAggregationConfig | None = Field(
        None, description="the server learns sums of updates alone, a table; left out: none"
    )

    @property
    def is_noisy(self) -> bool:
        """Whether there is differential privacy, of clients or of examples."""
        return self.client is not None or self.example is not None

    @property
    def is_private(self) -> bool:
        """Whether anything of the data is guaranteed: by noise, or by secure sums."""
        return self.is_noisy or self.secure_aggregation is not None
