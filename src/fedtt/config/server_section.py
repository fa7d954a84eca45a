"""The ``[server]`` section of a configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fedtt.federated.aggregate import AGGREGATIONS, MEAN
from fedtt.section import Positive, Probability, Rate, Section

MEDIAN_NORM = "median"
MOST_WEIGHT = 0.5  # nobody outweighs all the others together


class ServerConfig(Section):
    """``[server]``: what the server does with the updates."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = "fedavg"
    learning_rate: Rate = 1.0
    momentum: Probability = Field(0.9, description="beta 1 of fedavgm, fedadam, fedyogi")
    beta2: Probability = Field(0.99, description="of fedadam and fedyogi")
    adaptivity: Positive = Field(1e-3, description="tau of fedadam and fedyogi")
    aggregation: Annotated[str, AfterValidator(AGGREGATIONS.check)] = Field(
        MEAN,
        description="median, trimmed-mean, geometric-median, krum and multi-krum bear clients that "
        "send anything at all; they take 3 clients a round, the last two 5",
    )
    trim: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1,
        description="share that trimmed-mean drops at each end, and that krum and multi-krum take "
        "for hostile; at least one client",
    )
    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="how much each client's update counts in the mean"
    )
    weight_cap: Annotated[float, Field(ge=1e-4, le=1)] = Field(
        MOST_WEIGHT,
        description="largest share of a round's total weight that one client may hold, however "
        "many examples it claims; 1: any",
    )
    update_norm: Positive | Literal["median"] | None = Field(
        None,
        description="most that the L2 norm of a client's whole update may be: what is longer is "
        "shortened; median: the median norm of the round, which takes 3 clients",
    )
