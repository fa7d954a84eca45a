"""Configuration of the dense bottleneck adapter."""

from dataclasses import dataclass, field
from typing import ClassVar

from peft.config import PeftConfig

from fedtt.peft.activation import ACTIVATIONS
from fedtt.peft.config_checks import check_bottleneck, own_lists
from fedtt.peft.peft_type import peft_type
from fedtt.peft.traits import Traits


@dataclass(kw_only=True)
class BottleneckAdapterConfig(PeftConfig):  # type: ignore[misc]
    """Houlsby's bottleneck adapter after each block's output projections (arXiv 1902.00751).

    ``h -> h + scaling * Up(dropout(activation(Down(h))))``, Down and Up dense: in the places and of
    the form of the TT adapter, so that the two differ in nothing but the matrices. LayerNorms stay
    frozen; the paper trains them too. As with every PEFT config, one config is for one model.

    Raises:
        ConfigError: a value out of its range.
    """

    traits: ClassVar[Traits] = Traits()

    bottleneck: int = field(
        default=64, metadata={"help": "Width between Down and Up, the bottleneck."}
    )
    activation: str = field(
        default="gelu",
        metadata={"help": f"Function between Down and Up: {', '.join(ACTIVATIONS)}."},
    )
    bias: bool = field(
        default=True,
        metadata={
            "help": "Whether Down and Up have biases: bottleneck + hidden size parameters an "
            "adapter."
        },
    )
    dropout: float = field(
        default=0.0, metadata={"help": "Dropout probability after the activation."}
    )
    scaling: float = field(
        default=1.0, metadata={"help": "Factor of what the adapter adds to its input."}
    )
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "Modules to put an adapter after: names or name endings, or one regular "
            "expression of whole names. None: the output projections of attention and MLP in "
            "every block of a known architecture."
        },
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": "Modules apart from the adapter that are trained and saved whole. PEFT adds "
            "the classification head for its classification tasks."
        },
    )
    init_weights: bool = field(
        default=True,
        metadata={
            "help": "Whether the adapter starts as the identity (Up is zero). False, for tests: "
            "Up starts at random, like Down."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("BOTTLENECK_ADAPTER")
        check_bottleneck(self)
        own_lists(self)
