"""The ``[client]`` section of a configuration."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fedtt.section import BatchSize, Passes, Positive, Rate, RoundsOrNone, Section, Strength


class ClientConfig(Section):
    """``[client]``: local training in one round."""

    steps: Passes | None = Field(None, description="local steps a round; or `epochs`")
    epochs: Passes | None = Field(
        None, description="passes over the client's data a round; or `steps`; left out: 1"
    )
    batch_size: BatchSize = Field(16, description="examples a step")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="of the clients")
    optimizer_state: Literal["fresh", "kept"] = Field(
        "fresh",
        description="`kept`: AdamW's moments and step count of each client go on from its last "
        "round; for silos",
    )
    learning_rate: Rate = Field(5e-3, description="of the clients' optimizer, before `decay`")
    head_learning_rate: Rate | None = Field(
        None,
        description="of the classification head; it decays as the other does; left out: that of "
        "the rest",
    )
    zero_start_factor: Positive = Field(
        1.0,
        description="of the learning rate of what starts at zero, the head excepted: LoRA's B, "
        "the core of a TT adapter that makes it start as nothing (LoRA+, arXiv "
        "2402.12354, finds about 16 for B)",
    )
    decay: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="of the learning rate, over the rounds"
    )
    warmup_rounds: RoundsOrNone = Field(0, description="rounds of linear warm-up before the decay")
    weight_decay: Strength = Field(0.01, description="of AdamW or SGD")
    max_grad_norm: Strength = Field(1.0, description="clips each step's gradient; 0: no clipping")
    proximal: Strength = Field(
        0.0, description="FedProx's mu: pulls the client towards the broadcast parameters"
    )
    logit_adjustment: Strength = Field(
        0.0,
        description="strength of the client's own log label prior in its training loss (arXiv "
        "2007.07314); 1 is usual, for clients whose labels are skewed",
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
