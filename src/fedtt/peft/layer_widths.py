"""Widths of linear layers of any kind, and the layers an adapter could be put after."""

import re
from collections import Counter

from torch import nn

# nn.Linear and its quantized kin, transformers' Conv1D, GPTQ's QuantLinear, Megatron's linears.
_INPUT_WIDTHS = ("in_features", "nx", "infeatures", "input_size")
_OUTPUT_WIDTHS = ("out_features", "nf", "outfeatures", "output_size")


def input_width(module: nn.Module) -> int | None:
    """Number of input features of a linear layer of any kind; ``None`` where it is not known."""
    return _first_int(module, _INPUT_WIDTHS)


def output_width(module: nn.Module) -> int | None:
    """Number of output features of a linear layer of any kind; ``None`` where it is not known."""
    return _first_int(module, _OUTPUT_WIDTHS)


def describe_candidates(model: nn.Module) -> str:
    """Endings of the names of linear layers as wide as the model, with how often each occurs.

    An ending is what follows the last number in the name: it is the same in every block. Where
    the config names no hidden size, every linear layer counts.
    """
    hidden = _hidden_size(model)
    endings = Counter(
        re.split(r"(?:^|\.)\d+\.", name)[-1]
        for name, module in model.named_modules()
        if input_width(module) is not None
        and output_width(module) is not None
        and hidden in (None, output_width(module))
    )
    return ", ".join(f"{ending} ({count})" for ending, count in endings.most_common()) or "none"


def _hidden_size(model: nn.Module) -> int | None:
    config = getattr(model, "config", None)
    get_text_config = getattr(config, "get_text_config", None)
    text_config = get_text_config() if get_text_config is not None else config
    hidden = getattr(text_config, "hidden_size", None)
    return hidden if isinstance(hidden, int) else None


def _first_int(module: nn.Module, names: tuple[str, ...]) -> int | None:
    values = (getattr(module, name, None) for name in names)
    return next((value for value in values if isinstance(value, int)), None)
