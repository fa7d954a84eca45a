"""The ``[server]`` section of a configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fedtt.federated.aggregate import AGGREGATIONS, MEAN
from fedtt.section import Positive, Probability, Rate, Section

MEDIAN_NORM = "median"
MOST_WEIGHT = 0.5  # nobody outweighs all the others together


class ServerConfig(Section):
    """``[server]``: what the server does with the updates."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = Field(
        "fedavg", description="what is done with the mean update (Reddi et al. 2021)"
    )
    learning_rate: Rate = Field(1.0, description="of the server's step along the mean update")
    momentum: Probability = Field(0.9, description="beta 1 of `fedavgm`, `fedadam`, `fedyogi`")
    beta2: Probability = Field(0.99, description="beta 2 of `fedadam` and `fedyogi`")
    adaptivity: Positive = Field(1e-3, description="tau of `fedadam` and `fedyogi`")
    aggregation: Annotated[str, AfterValidator(AGGREGATIONS.check)] = Field(
        MEAN,
        description="all but `mean` bear clients that send anything at all; they take 3 clients a "
        "round, all that end in `krum` 5",
    )
    trim: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1,
        description="share that trimmed-mean drops at each end, and that all that end in krum take "
        "for hostile, rounded down, but at least one",
    )
    weighting: Literal["examples", "uniform"] = Field(
        "examples",
        description="of the mean update: by each client's `examples`, or `uniform`, every client "
        "the same",
    )
    weight_cap: Annotated[float, Field(ge=1e-4, le=1)] = Field(
        MOST_WEIGHT,
        description="largest share of a round's total weight that one client may hold, however "
        "many examples it claims; 1: any",
    )
    update_norm: Positive | Literal["median"] | None = Field(
        None,
        description="most that the L2 norm of a client's whole update may be: what is longer is "
        "shortened to it, before anything else; `median`: the median norm of the "
        "round (3 clients a round). Not with `[privacy]`; left out: none",
    )
