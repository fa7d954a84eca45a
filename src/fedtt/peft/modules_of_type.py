"""The modules of a model that are of some type."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

M = TypeVar("M")


def modules_of_type(model: nn.Module, *types: type[M]) -> Iterator[tuple[str, M]]:
    """Names and modules, in the model's order, every module once."""
    for name, module in model.named_modules():
        if isinstance(module, types):
            yield name, module
