"""The ``[client]`` section of a configuration."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedtt.section import BatchSize, Passes, Positive, Rate, RoundsOrNone, Section, Strength


class ClientConfig(Section):
    """``[client]``: local training in one round."""

    steps: Passes | None = Field(None, description="local steps a round; or epochs")
    epochs: Passes | None = Field(None, description="local passes a round (default 1)")
    batch_size: BatchSize = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    optimizer_state: Literal["fresh", "kept"] = Field(
        "fresh",
        description="kept: AdamW's moments of a client go on from its last round; for silos in one "
        "process, everyone in every round",
    )
    learning_rate: Rate = 5e-3
    head_learning_rate: Rate | None = Field(
        None, description="of the classification head; left out: learning_rate"
    )
    zero_start_factor: Positive = Field(
        1.0,
        description="of the learning rate of what starts at zero, the head excepted: B of LoRA, "
        "the last core of a TT adapter's Up (as LoRA+, arXiv 2402.12354)",
    )
    decay: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="of the learning rate, over the rounds"
    )
    warmup_rounds: RoundsOrNone = 0
    weight_decay: Strength = 0.01
    max_grad_norm: Strength = Field(1.0, description="of each step's gradient; 0: no clipping")
    proximal: Strength = Field(0.0, description="FedProx's mu; 0: none")
    logit_adjustment: Strength = Field(
        0.0, description="strength of the client's own log label prior in its loss; 1 is usual"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        return self

    @model_validator(mode="after")
    def _state_to_keep(self) -> Self:
        if self.optimizer_state == "kept" and self.optimizer != "adamw":
            raise ValueError(f'optimizer_state = "kept" needs adamw: {self.optimizer} has no state')
        return self
