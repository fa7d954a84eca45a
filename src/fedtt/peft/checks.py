"""What the configs of our adapters check of their values."""

import math
from typing import Any

from peft.config import PeftConfig

from fedtt.errors import ConfigError
from fedtt.peft.activation import ACTIVATIONS


def is_positive_int(value: Any) -> bool:
    """Whether ``value`` is an integer of at least 1, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def out_of_range(config: PeftConfig, name: str, expected: str) -> ConfigError:
    """The error for the field ``name`` of ``config``."""
    return ConfigError(
        f"{name} is out of range",
        where=f"{type(config).__name__}.{name}",
        got=getattr(config, name),
        expected=expected,
    )


def check_bottleneck(config: Any) -> None:
    """Raise :class:`ConfigError` for a bottleneck's width or function out of its range."""
    if not is_positive_int(config.bottleneck):
        raise out_of_range(config, "bottleneck", "a positive integer")
    if config.activation not in ACTIVATIONS:
        raise out_of_range(config, "activation", f"one of {', '.join(ACTIVATIONS)}")
    if not math.isfinite(config.scaling):
        raise out_of_range(config, "scaling", "a finite number")
    if not isinstance(config.bias, bool):
        raise out_of_range(config, "bias", "True or False")
    check_dropout(config)


def check_dropout(config: Any) -> None:
    """Raise :class:`ConfigError` for a dropout that is no probability below 1."""
    if not 0 <= config.dropout < 1:
        raise out_of_range(config, "dropout", "a probability in [0, 1)")


def own_lists(config: Any) -> None:
    """Copies in place of the lists of module names, because PEFT appends to them."""
    if config.target_modules is not None and not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)
    if config.modules_to_save is not None:
        config.modules_to_save = list(config.modules_to_save)
