"""What the configs of our adapters check of their values."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from peft.config import PeftConfig

from fedtt.errors import ConfigError
from fedtt.peft.activation import ACTIVATIONS
from fedtt.peft.sizes import MOST_WIDTH


def positive_int(value: Any) -> int | None:
    """An integer of any type, numpy's too, of at least 1; None for a bool and all else."""
    try:
        number = 0 if type(value) is bool else operator.index(value)
    except TypeError:
        return None
    return number if number >= 1 else None


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
    check_positive_int(config, "bottleneck", most=MOST_WIDTH)
    if not isinstance(config.activation, str) or config.activation not in ACTIVATIONS:
        raise out_of_range(config, "activation", f"one of {', '.join(ACTIVATIONS)}")
    check_number(config, "scaling", expected="a finite number", within=(-math.inf, math.inf))
    for name in ("bias", "init_weights"):
        check_bool(config, name)
    check_dropout(config)


def check_positive_int(
    config: Any, name: str, *, most: int, expected: str = "a positive integer"
) -> None:
    """Raise :class:`ConfigError` unless the field is a positive integer; makes it an ``int``."""
    number = positive_int(getattr(config, name))
    if number is None:
        raise out_of_range(config, name, expected)
    _check_at_most(config, name, [number], most)
    setattr(config, name, number)


def check_positive_ints(config: Any, name: str, *, most: int) -> None:
    """Raise :class:`ConfigError` unless the field is a sequence of positive integers, not empty.

    Makes it a list of ``int``, which goes into the adapter's JSON file.
    """
    values = getattr(config, name)
    in_order = isinstance(values, Sequence | np.ndarray)
    numbers = [number for value in values if (number := positive_int(value))] if in_order else []
    if not numbers or len(numbers) < len(values):
        raise out_of_range(config, name, "positive integers")
    _check_at_most(config, name, numbers, most)
    setattr(config, name, numbers)


def _check_at_most(config: Any, name: str, values: Sequence[Any], most: int) -> None:
    if max(values) > most:
        raise out_of_range(config, name, f"at most {most:,}")


def check_number(config: Any, name: str, *, expected: str, within: tuple[float, float]) -> None:
    """Raise :class:`ConfigError` unless the field is a finite real number in the closed range.

    Makes it a ``float``.
    """
    number = _finite(getattr(config, name))
    if number is None or not within[0] <= number <= within[1]:
        raise out_of_range(config, name, expected)
    setattr(config, name, number)


def _finite(value: Any) -> float | None:
    """A real number of any type as a ``float``; None for a bool, for NaN and all else."""
    try:
        finite = type(value) is not bool and math.isfinite(value)  # TypeError for a string
        return float(value) if finite else None
    except (TypeError, OverflowError):
        return None


def check_bool(config: Any, name: str) -> None:
    """Raise :class:`ConfigError` unless the field is a bool."""
    if type(getattr(config, name)) is not bool:
        raise out_of_range(config, name, "True or False")


def check_dropout(config: Any) -> None:
    """Raise :class:`ConfigError` for a dropout that is no probability below 1."""
    below_one = math.nextafter(1, 0)
    check_number(config, "dropout", expected="a probability in [0, 1)", within=(0, below_one))


def own_lists(config: Any) -> None:
    """Copies in place of the lists of module names, because PEFT appends to them."""
    if config.target_modules is not None and not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)
    if config.modules_to_save is not None:
        config.modules_to_save = list(config.modules_to_save)
