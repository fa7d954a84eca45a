"""Trains of all layers of a model, contracted together in its forward.

A train's cores are so small that contracting them takes the time of calling some ten products, and
twice as many for the gradients, in every layer. The layers of a model have few shapes; those of one
shape are contracted in the calls of one.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import torch
from torch import Tensor

from fedtt.tt import contract_all_sides

Sides = tuple[Tensor, Tensor]


class Train(Protocol):
    """A layer whose matrix is a tensor train."""

    @property
    def cores(self) -> list[Tensor]:
        """The cores, those of ``K`` clients with a leading dimension."""

    @property
    def split(self) -> int:
        """Number of cores that carry input modes."""


class _Contracted:
    """The sides of the trains of one forward, of a shape as soon as one of them is asked for."""

    def __init__(self, layers: Iterable[Train]) -> None:
        self._layers = {id(layer): layer for layer in layers}
        self._shapes: dict[int, Hashable] | None = None
        self._sides: dict[tuple[Hashable, torch.dtype], Mapping[int, Sides]] = {}

    def sides(self, layer: Train, dtype: torch.dtype) -> Sides | None:
        if id(layer) not in self._layers:
            return None
        if self._shapes is None:
            self._shapes = {key: _shape(each) for key, each in self._layers.items()}
        shape = self._shapes[id(layer)]
        if (shape, dtype) not in self._sides:
            alike = [key for key, other in self._shapes.items() if other == shape]
            trains = [self._layers[key].cores for key in alike]
            found = contract_all_sides(trains, split=layer.split, dtype=dtype)
            self._sides[shape, dtype] = dict(zip(alike, found, strict=True))
        return self._sides[shape, dtype][id(layer)]


_OF_THIS_FORWARD: ContextVar[_Contracted | None] = ContextVar("contracted", default=None)


@contextmanager
def contracted_together(layers: Iterable[Train]) -> Iterator[None]:
    """Inside, :func:`sides_together` gives the sides of these layers.

    The cores must not change inside, and each layer is expected to be used: to the gradients of one
    that is not, zeros are added.
    """
    token = _OF_THIS_FORWARD.set(_Contracted(layers))
    try:
        yield
    finally:
        _OF_THIS_FORWARD.reset(token)


def sides_together(layer: Train, dtype: torch.dtype) -> Sides | None:
    """``L`` and ``R`` of the layer, of that dtype; None where it is not contracted with others."""
    if torch.compiler.is_compiling():  # a compiler cannot follow, and does the like itself
        return None
    contracted = _OF_THIS_FORWARD.get()
    return None if contracted is None else contracted.sides(layer, dtype)


def _shape(layer: Train) -> Hashable:
    """What the layers that are contracted together have in common."""
    cores = layer.cores
    return layer.split, *((core.shape, core.device, core.dtype) for core in cores)
