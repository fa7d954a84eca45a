"""Trains of one shape, contracted in the calls of one.

A train's cores are so small that contracting them takes the time of calling some ten products, and
twice as many for the gradients, in every layer; and the layers of a model have few shapes.
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


class _Forward:
    """The sides of its trains, all those of a shape as soon as one of them is asked for."""

    def __init__(self, trains: Iterable[Train]) -> None:
        self._trains = {id(train): train for train in trains}
        # Read when the first is asked for: what functional_call puts in place is in place then.
        self._cores: Mapping[int, list[Tensor]] = {}
        self._kinds: Mapping[int, Hashable] = {}
        self._sides: dict[tuple[Hashable, torch.dtype], Mapping[int, Sides]] = {}

    def sides(self, train: Train, dtype: torch.dtype) -> Sides | None:
        if id(train) not in self._trains or not torch.is_grad_enabled():
            return None
        if not self._cores:
            self._cores = {key: each.cores for key, each in self._trains.items()}
            self._kinds = {key: _kind(self._trains[key], own) for key, own in self._cores.items()}
        kind = self._kinds[id(train)]
        if (kind, dtype) not in self._sides:
            alike = [key for key, other in self._kinds.items() if other == kind]
            trains = [self._cores[key] for key in alike]
            found = contract_all_sides(trains, split=train.split, dtype=dtype)
            self._sides[kind, dtype] = dict(zip(alike, found, strict=True))
        return self._sides[kind, dtype][id(train)]


_FORWARD: ContextVar[_Forward | None] = ContextVar("shared_contraction", default=None)


@contextmanager
def shared_contraction(trains: Iterable[Train]) -> Iterator[None]:
    """Inside, in one forward with gradients, :func:`shared_sides` knows the sides of these trains.

    All of them should be used: one that is not gets gradients of zero in place of none.
    """
    token = _FORWARD.set(_Forward(trains))
    try:
        yield
    finally:
        _FORWARD.reset(token)


def shared_sides(train: Train, dtype: torch.dtype) -> Sides | None:
    """``L`` and ``R`` of that dtype; None where the train has to be contracted by itself."""
    if torch.compiler.is_compiling():  # Dynamo cannot look into a context variable
        return None
    forward = _FORWARD.get()
    return None if forward is None else forward.sides(train, dtype)


def _kind(train: Train, cores: Iterable[Tensor]) -> Hashable:
    """What trains that are contracted together have in common."""
    return train.split, *((c.shape, c.device, c.dtype, c.requires_grad) for c in cores)
