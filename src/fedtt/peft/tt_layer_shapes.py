"""Shapes and spreads of the TT layers that fit the layers of a model."""

from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from fedtt.errors import ModelError
from fedtt.peft.layer_widths import input_width, output_width
from fedtt.peft.tt_adapter_config import TTAdapterConfig
from fedtt.tt import TTShape, tt_shape


def adapter_shapes(width: int, config: TTAdapterConfig) -> tuple[TTShape, TTShape]:
    """Shapes of Down (``width`` -> bottleneck) and of Up, its mirror image.

    Raises:
        ShapeError: modes that do not multiply to the width or the bottleneck, or a rank that
            does not fit.
    """
    down = tt_shape(
        width,
        config.bottleneck,
        rank=config.rank,
        in_modes=config.in_modes,
        out_modes=config.out_modes,
    )
    up = TTShape(
        in_modes=down.out_modes[::-1], out_modes=down.in_modes[::-1], ranks=down.ranks[::-1]
    )
    return down, up


def known_width(module: nn.Module, *, name: str) -> int:
    """Output width of a linear layer of any kind, or of the one a tuner layer wraps.

    Raises:
        ModelError: a module that does not tell its width.
    """
    return _required(output_width(_base_of(module)), module, name=name, side="output")


def dense_shape(module: nn.Module, config: TTAdapterConfig, *, name: str) -> TTShape:
    """Shape of the TT layer that takes the place of the classifier's dense layer ``module``.

    Raises:
        ModelError: a module that does not tell its widths.
        ShapeError: a rank that does not fit.
    """
    base = _base_of(module)
    rank = config.classifier_rank or config.rank
    return tt_shape(
        _required(input_width(base), module, name=name, side="input"),
        _required(output_width(base), module, name=name, side="output"),
        rank=rank,
    )


def _required(width: int | None, module: nn.Module, *, name: str, side: str) -> int:
    if width is None:
        raise ModelError(
            f"the {side} width of a targeted module is not known",
            where=name,
            got=type(module).__name__,
            expected="a linear layer: nn.Linear, a quantized linear layer, or Conv1D",
            fix="target linear layers only: target_modules=[...]",
        )
    return width


def _base_of(module: nn.Module) -> nn.Module:
    base: nn.Module = module
    if isinstance(module, BaseTunerLayer):
        base = BaseTunerLayer.get_base_layer(module)
    return base


def initializer_range(model: nn.Module) -> float:
    """Standard deviation the architecture initializes its linear layers with (BERT's if unsaid)."""
    config: Any = getattr(model, "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return float(getattr(text_config, "initializer_range", None) or 0.02)
