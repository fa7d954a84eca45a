"""Configuration of the TT adapter."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from peft.config import PeftConfig

from fedtt.errors import ConfigError
from fedtt.peft.activation import ACTIVATIONS
from fedtt.peft.config_checks import (
    check_bool,
    check_bottleneck,
    check_positive_int,
    check_positive_ints,
    own_lists,
    positive_int,
)
from fedtt.peft.peft_type import peft_type
from fedtt.peft.sizes import MOST_RANK, MOST_WIDTH
from fedtt.peft.traits import Traits


@dataclass(kw_only=True)
class TTAdapterConfig(PeftConfig):  # type: ignore[misc]
    """A bottleneck adapter of two tensor-train layers after each block's output projections.

    ``h -> h + scaling * Up(dropout(activation(Down(h))))``, where ``h`` is what the wrapped
    projection returns. As with every PEFT config, wrapping a model fills in what was left to
    choose (``target_modules``, ``classifier_dense``, ``modules_to_save``): one config, one model.

    Raises:
        ConfigError: a value out of its range.
    """

    traits: ClassVar[Traits] = Traits()

    rank: int | Sequence[int] = field(
        default=5,
        metadata={
            "help": "TT rank of Down and Up: one for all bonds, or all ranks of Down with the 1 at "
            "both ends (Up has them reversed)."
        },
    )
    bottleneck: int = field(
        default=64, metadata={"help": "Width between Down and Up, the bottleneck."}
    )
    activation: str = field(
        default="gelu",
        metadata={"help": f"Function between Down and Up: {', '.join(ACTIVATIONS)}."},
    )
    in_modes: Sequence[int] | None = field(
        default=None,
        metadata={
            "help": "Mode sizes of Down's input, whose product is the hidden size (Up has them "
            "reversed, as output). None: the published list of the size, else balanced modes."
        },
    )
    out_modes: Sequence[int] | None = field(
        default=None,
        metadata={
            "help": "Mode sizes of Down's output, whose product is the bottleneck (Up has them "
            "reversed, as input). None: the published list of the size, else balanced modes."
        },
    )
    bias: bool = field(
        default=False,
        metadata={
            "help": "Whether Down and Up have dense biases: bottleneck + hidden size parameters "
            "an adapter, more than the cores at small ranks."
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
    tensorize_classifier: bool = field(
        default=False,
        metadata={
            "help": "Whether a TT layer with a bias takes the place of the classifier's dense "
            "hidden x hidden layer; of the head only the final projection is then trained whole."
        },
    )
    classifier_dense: str | None = field(
        default=None,
        metadata={
            "help": "Name, or name ending, of the classifier's dense layer, for "
            "tensorize_classifier. None: that of a known architecture."
        },
    )
    classifier_rank: int | None = field(
        default=None,
        metadata={"help": "TT rank of the tensorized classifier layer. None: rank, if it is one."},
    )
    init_weights: bool = field(
        default=True,
        metadata={
            "help": "Whether the adapter starts as the identity (the last core of Up is zero). "
            "False, for tests: Up starts at random, like Down."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("TT_ADAPTER")
        _check(self)
        own_lists(self)


def _check(config: TTAdapterConfig) -> None:
    """Raise :class:`ConfigError` for a value out of its range."""
    several = positive_int(config.rank) is None
    if several:
        check_positive_ints(config, "rank", most=MOST_RANK)
    else:
        check_positive_int(config, "rank", most=MOST_RANK, expected="positive integers")
    if config.classifier_rank is not None:
        check_positive_int(config, "classifier_rank", most=MOST_RANK)
    for name in ("in_modes", "out_modes"):
        if getattr(config, name) is not None:
            check_positive_ints(config, name, most=MOST_WIDTH)
    check_bottleneck(config)
    check_bool(config, "tensorize_classifier")
    if config.tensorize_classifier and several and config.classifier_rank is None:
        raise ConfigError(
            "the ranks of Down do not say which rank the tensorized classifier layer has",
            where="TTAdapterConfig.rank",
            got=config.rank,
            fix="set classifier_rank",
        )
