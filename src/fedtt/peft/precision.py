"""Exchanged parameters in float32 inside a base model of a narrower type."""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from peft.utils.constants import SEQ_CLS_HEAD_NAMES
from torch import Tensor, nn


def keep_in_float32(model: nn.Module, names: Collection[str]) -> None:
    """Hold the parameters ``names`` of ``model`` in float32, whatever type the others have.

    Changes ``model``. Half-precision steps of an optimizer vanish or overflow, and rounding a mean
    to them loses what the clients learned. A module that owns such a parameter is cast as a whole,
    with all that is in it: it takes its inputs in float32 and gives its output in the type it had,
    the classification head excepted, whose logits stay float32. PEFT's own layers, which are
    float32 already, convert by themselves and are left alone.
    """
    wanted = set(names)
    for name, module in list(_owners(model, wanted)):
        narrow = _float_type(module)
        module.to(torch.float32)
        is_head = any(part.endswith(tuple(SEQ_CLS_HEAD_NAMES)) for part in name.split("."))
        module.register_forward_pre_hook(_take_float32, with_kwargs=True)
        if not is_head:
            module.register_forward_hook(_give(narrow))


def _owners(
    module: nn.Module, wanted: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules with a parameter of their own that is wanted and is not float32."""
    own = module.named_parameters(recurse=False)
    if any(prefix + name in wanted and p.dtype != torch.float32 for name, p in own):
        yield prefix.removesuffix("."), module
        return
    for name, child in module.named_children():
        yield from _owners(child, wanted, f"{prefix}{name}.")


def _float_type(module: nn.Module) -> torch.dtype:
    # Not the integers that quantized weights are.
    floats = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(dtype for dtype in floats if dtype != torch.float32)


def _take_float32(
    module: nn.Module,  # noqa: ARG001 (torch's signature)
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    taken = {key: _cast(value, torch.float32) for key, value in kwargs.items()}
    return tuple(_cast(value, torch.float32) for value in args), taken


def _give(dtype: torch.dtype) -> Any:
    def give(module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001 (torch's signature)
        return _cast(output, dtype)

    return give


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """``value`` with every floating tensor in it, or in its tuples, as ``dtype``."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if type(value) is tuple:
        return tuple(_cast(part, dtype) for part in value)
    return value
