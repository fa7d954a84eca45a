"""What a run is made of, as frozen values; the TOML file has exactly these keys.

Unknown keys are refused. Paths are absolute by the time they are here (see ``config.load``).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from fedtt.config.methods import MethodConfig
from fedtt.config.section import (
    Fraction,
    NonNegative,
    NonNegativeInt,
    Probability,
    Section,
    Share,
)


class ModelConfig(Section):
    """``[model]``: the base model."""

    name: str = Field(description="alias (minilm), hub id, or directory")
    revision: str | None = Field(None, description="hub revision: branch, tag or commit")
    max_length: PositiveInt = Field(128, description="tokens; longer texts are cut, and counted")
    dropout: Probability | None = Field(None, description="of the base model; left out: its own")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps ...")


class DataConfig(Section):
    """``[data]``: either a named source or a file."""

    source: Literal["sentiment-silos"] | None = None
    path: Path | None = Field(None, description=".csv, .jsonl or .parquet")
    test_path: Path | None = Field(
        None, description="same columns as path; the one test set that all clients share"
    )
    examples: PositiveInt | None = Field(
        None, description="use a random part of so many training examples"
    )
    text_column: str = "text"
    pair_column: str | None = Field(None, description="the second text, where examples are pairs")
    label_column: str = "label"
    client_column: str = Field("client", description="used where the file has it")
    label_names: tuple[str, ...] | None = Field(
        None, description="names of the classes in order; left out: the sorted distinct labels"
    )
    validation: Fraction = Field(0.1, description="share of each client's distinct texts")
    test: Fraction = Field(0.15, description="share of each client's distinct texts")
    split_seed: NonNegativeInt = Field(0, description="same splits for every run seed")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.path is None):
            raise ValueError('give either source = "sentiment-silos" or path = "FILE"')
        if self.path is None and (self.test_path or self.pair_column):
            raise ValueError("test_path and pair_column go with path, not with source")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        return self


# kind -> the keys that it needs; min_examples and seed go with every kind
PARTITION_KEYS: Mapping[str, frozenset[str]] = {
    "iid": frozenset({"clients"}),
    "dirichlet": frozenset({"clients", "alpha"}),
    "labels": frozenset({"proportions"}),
    "quantity": frozenset({"clients", "alpha"}),
    "column": frozenset({"column"}),
}


class PartitionConfig(Section):
    """``[partition]``: one pool, its training examples dealt out to clients."""

    kind: Literal["iid", "dirichlet", "labels", "quantity", "column"]
    clients: PositiveInt | None = Field(None, description="iid, dirichlet, quantity: how many")
    alpha: PositiveFloat | None = Field(
        None, description="concentration: dirichlet, of labels; quantity, of client sizes"
    )
    proportions: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=1)] | None = Field(
        None, description="labels: a row of label proportions for each client"
    )
    column: str | None = Field(None, description="column: who holds the row")
    min_examples: PositiveInt = Field(2, description="training examples each client has at least")
    seed: NonNegativeInt = Field(0, description="same clients for every run seed")

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        needed = PARTITION_KEYS[self.kind]
        optional = frozenset().union(*PARTITION_KEYS.values())
        given = {key for key in optional if getattr(self, key) is not None}
        if needed - given:
            raise ValueError(f"kind {self.kind!r} needs {' and '.join(sorted(needed - given))}")
        if given - needed:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(sorted(given - needed))}")
        return self

    @model_validator(mode="after")
    def _rows_of_proportions(self) -> Self:
        rows = self.proportions or ()
        for index, row in enumerate(rows):
            if abs(sum(row) - 1) > 1e-6 or len(row) != len(rows[0]):
                raise ValueError(
                    f"row {index + 1} of proportions is {list(row)}: every row has one "
                    "proportion for each class, and they sum to 1"
                )
        return self


def _count_or_auto(value: object) -> object:
    """What a union of types would refuse with one message for each of them."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if value != "auto" and not whole:
        raise ValueError("input should be a whole number, 1 or more, or 'auto'")
    return value


class CohortConfig(Section):
    """``[cohort]``: who takes part in a round."""

    size: PositiveInt | None = Field(None, description="clients a round; left out: everyone")
    dropout: Probability = Field(
        0.0, description="probability that a client which was called never answers"
    )
    batched: Literal["auto", "off"] = Field(
        "auto",
        description="auto: clients train together, in one step, where their method can; "
        "off: one by one; the results differ by rounding only",
    )
    max_tokens: Annotated[PositiveInt | Literal["auto"], BeforeValidator(_count_or_auto)] = Field(
        "auto", description="tokens, padding included, of a forward of clients that train together"
    )


class ClientConfig(Section):
    """``[client]``: local training in one round."""

    steps: PositiveInt | None = Field(None, description="local steps a round; or epochs")
    epochs: PositiveInt | None = Field(None, description="local passes a round (default 1)")
    batch_size: PositiveInt = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 5e-3
    decay: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="of the learning rate, over the rounds"
    )
    warmup_rounds: NonNegativeInt = 0
    weight_decay: NonNegative = 0.01
    max_grad_norm: NonNegative = Field(1.0, description="of each step's gradient; 0: no clipping")
    proximal: NonNegative = Field(0.0, description="FedProx's mu; 0: none")
    logit_adjustment: NonNegative = Field(
        0.0, description="strength of the client's own log label prior in its loss; 1 is usual"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        return self


class ServerConfig(Section):
    """``[server]``: what the server does with the updates."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = "fedavg"
    learning_rate: PositiveFloat = 1.0
    momentum: Probability = Field(0.9, description="beta 1 of fedavgm, fedadam, fedyogi")
    beta2: Probability = Field(0.99, description="of fedadam and fedyogi")
    adaptivity: PositiveFloat = Field(1e-3, description="tau of fedadam and fedyogi")
    aggregation: Literal["mean", "median", "trimmed-mean"] = Field(
        "mean", description="median and trimmed-mean bear clients that send anything at all"
    )
    trim: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="share that trimmed-mean drops at each end"
    )
    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="how much each client's update counts in the mean"
    )


class EvaluationConfig(Section):
    """``[evaluation]``: what is measured, and when."""

    every: NonNegativeInt = Field(1, description="rounds between validations; 0: never")
    batch_size: PositiveInt = 64
    validation_examples: PositiveInt | None = Field(
        None, description="at most so many a client and validation; the test split is always whole"
    )
    alone: bool | None = Field(
        None,
        description="also train each client alone for the same steps, as a baseline; "
        "left out: where everyone takes part in every round and there are at most 10 clients",
    )
    test: bool = Field(
        default=True,
        description="measure the test split; false: nothing that the run computes or saves "
        "depends on it, as in the choice of hyper-parameters",
    )

    @model_validator(mode="after")
    def _alone_needs_test(self) -> Self:
        if self.alone and not self.test:
            raise ValueError("alone is measured on the test split, and test = false")
        return self


class RunConfig(Section):
    """A whole run."""

    seed: NonNegativeInt = 0
    rounds: PositiveInt
    model: ModelConfig
    data: DataConfig
    partition: PartitionConfig | None = None
    method: MethodConfig
    cohort: CohortConfig = CohortConfig()
    client: ClientConfig = ClientConfig()
    server: ServerConfig = ServerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
