"""Configuration of the cross-layer train."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from fedtt.peft.added_matrix_config import AddedMatrixConfig
from fedtt.peft.config_checks import (
    check_bool,
    check_dropout,
    check_number,
    check_positive_int,
    check_positive_ints,
    out_of_range,
    own_lists,
    positive_int,
)
from fedtt.peft.peft_type import peft_type
from fedtt.peft.sizes import MOST_RANK
from fedtt.peft.traits import Traits


@dataclass(kw_only=True)
class MetaTTConfig(AddedMatrixConfig):
    """One tensor train for all targeted matrices (after MetaTT, arXiv 2506.09105).

    ``W[l, p] + scaling * A G_layer[l] G_projection[p] B``: all layers and projections share A and
    B, and each layer, and each projection, has a small core of its own.

    Raises:
        ConfigError: a value out of its range.
    """

    traits: ClassVar[Traits] = Traits()

    rank: int | list[int] = field(
        default=8,
        metadata={"help": "TT rank: one for all three bonds, or input's, middle's and output's."},
    )
    scaling: float = field(default=1.0, metadata={"help": "Factor of what is added."})
    dropout: float = field(
        default=0.0, metadata={"help": "Dropout probability of what goes into the train."}
    )
    init_weights: bool = field(
        default=True,
        metadata={"help": "Start as the base model: the output core is zero. Else it is random."},
    )
    complete: bool = field(
        default=False,
        metadata={
            "help": "Refuse targets that leave entries of the train unused: matrices of several "
            "sizes, or a projection that some layer lacks."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("METATT")
        if positive_int(self.rank):
            check_positive_int(self, "rank", most=MOST_RANK)
        else:
            check_positive_ints(self, "rank", most=MOST_RANK)
            if len(self.ranks) != 3:
                raise out_of_range(self, "rank", "one rank, or three: one for every bond")
        check_number(self, "scaling", expected="a finite number", within=(-math.inf, math.inf))
        for name in ("init_weights", "complete"):
            check_bool(self, name)
        check_dropout(self)
        own_lists(self)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of the three bonds."""
        return (self.rank,) * 3 if isinstance(self.rank, int) else tuple(self.rank)
