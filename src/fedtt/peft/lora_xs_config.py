"""Configuration of LoRA-XS."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from fedtt.peft.added_matrix_config import AddedMatrixConfig
from fedtt.peft.config_checks import (
    check_dropout,
    check_number,
    check_positive_int,
    out_of_range,
    own_lists,
)
from fedtt.peft.peft_type import peft_type
from fedtt.peft.sizes import MOST_RANK
from fedtt.peft.traits import Traits

STARTS = ("zero", "gaussian")
FRAMES = ("singular", "orthonormal")


@dataclass(kw_only=True)
class LoRAXSConfig(AddedMatrixConfig):
    """LoRA-XS: a trained r x r matrix between frozen singular factors (arXiv 2405.17604).

    ``W + (alpha / r) * U_r S_r R V_r^T``, where ``U_r S_r V_r^T`` is the best approximation of rank
    ``r`` of the frozen weight ``W``; with ``frames="orthonormal"`` without ``S_r``. The factors
    follow from ``W``: they are neither sent nor saved, and the mean of the clients' ``R`` adds the
    mean of what they add (Fed-SB, arXiv 2502.15436).

    Raises:
        ConfigError: a value out of its range.
    """

    traits: ClassVar[Traits] = Traits(needs_base_weights=True)

    r: int = field(default=16, metadata={"help": "Rank: R has r x r entries a targeted layer."})
    alpha: float = field(default=16.0, metadata={"help": "What is added is scaled by alpha / r."})
    scaling: float | None = field(
        default=None, metadata={"help": "Factor of what is added, in place of alpha / r."}
    )
    frames: str = field(
        default="singular",
        metadata={
            "help": "What R stands between: singular (U S and V^T, the paper's: leading directions "
            "count by their singular values) or orthonormal (U and V^T: all alike)."
        },
    )
    dropout: float = field(
        default=0.0, metadata={"help": "Dropout probability of what goes into the factors."}
    )
    init: str = field(
        default="zero",
        metadata={
            "help": "How R starts: zero (the base model, bit for bit; R has a gradient from the "
            "first step) or gaussian (the paper's, standard deviation 1e-5)."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("LORA_XS")
        check_positive_int(self, "r", most=MOST_RANK)
        positive = (math.ulp(0), math.inf)
        check_number(self, "alpha", expected="a positive number", within=positive)
        if self.scaling is not None:
            check_number(self, "scaling", expected="a positive number", within=positive)
        for name, choices in (("init", STARTS), ("frames", FRAMES)):
            if getattr(self, name) not in choices:
                raise out_of_range(self, name, f"one of {', '.join(choices)}")
        check_dropout(self)
        own_lists(self)
