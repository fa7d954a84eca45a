"""What a run is made of, as frozen values; the TOML file has exactly these keys.

Unknown keys are refused. Paths are absolute by the time they are here (see ``config.load``).
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

NonNegativeInt = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base of every section: frozen, strict about unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)


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
    text_column: str = "text"
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
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        return self


class FedTTConfig(Section):
    """``[method]`` with ``name = "fedtt"``: tensor-train adapters."""

    name: Literal["fedtt"]
    rank: PositiveInt = 5
    bottleneck: PositiveInt = 64
    activation: str = "gelu"
    bias: bool = Field(
        default=False, description="dense biases: most of the message at LLaMA sizes"
    )
    dropout: Probability = 0.0
    scaling: PositiveFloat = 1.0
    in_modes: tuple[PositiveInt, ...] | None = None
    out_modes: tuple[PositiveInt, ...] | None = None
    tensorize_classifier: bool = False
    target_modules: tuple[str, ...] | None = None


class LoRAConfig(Section):
    """``[method]`` with ``name = "lora"``: PEFT's LoRA, A and B averaged one by one."""

    name: Literal["lora"]
    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    dropout: Probability = 0.0
    target_modules: tuple[str, ...] | None = None


MethodConfig = Annotated[FedTTConfig | LoRAConfig, Field(discriminator="name")]


class CohortConfig(Section):
    """``[cohort]``: who takes part in a round."""

    size: PositiveInt | None = Field(None, description="clients a round; left out: everyone")


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
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: PositiveFloat | None = 1.0

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        return self


class ServerConfig(Section):
    """``[server]``: what the server does with the mean of the updates."""

    learning_rate: PositiveFloat = 1.0
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
    method: MethodConfig
    cohort: CohortConfig = CohortConfig()
    client: ClientConfig = ClientConfig()
    server: ServerConfig = ServerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
