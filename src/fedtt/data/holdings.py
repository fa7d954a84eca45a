"""Who holds which examples of a pool: two arrays, however many clients there are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np


class _Selectable(Protocol):
    def __len__(self) -> int: ...

    def select(self, indices: np.ndarray) -> "_Selectable":
        """The examples at ``indices``, in their order."""
        ...


P = TypeVar("P", bound=_Selectable)


class Parts(Mapping[str, np.ndarray]):
    """Client -> its positions in a pool, int64 ``(n_k,)``, for any number of clients.

    Client i is ``names[i]`` and holds ``order[offsets[i] : offsets[i + 1]]``.
    """

    def __init__(self, names: Sequence[str], order: np.ndarray, offsets: np.ndarray) -> None:
        self.names = tuple(names)
        self.order = order
        self.offsets = offsets
        self._positions = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def of(cls, parts: Mapping[str, np.ndarray]) -> "Parts":
        """Those clients' parts, put end to end."""
        if isinstance(parts, Parts):
            return parts
        order = np.concatenate([np.zeros(0, dtype=np.int64), *parts.values()])
        return cls(tuple(parts), order, _ends(len(part) for part in parts.values()))

    @classmethod
    def in_turn(cls, sizes: Mapping[str, int]) -> "Parts":
        """Client after client, each the next examples of the pool."""
        offsets = _ends(sizes.values())
        return cls(tuple(sizes), np.arange(offsets[-1]), offsets)

    def position(self, name: str) -> int:
        """Which of the clients that is, from 0."""
        return self._positions[name]

    @property
    def sizes(self) -> np.ndarray:
        """Examples of every client, int64 ``(clients,)``."""
        return np.diff(self.offsets)

    def __getitem__(self, name: str) -> np.ndarray:
        index = self.position(name)
        part: np.ndarray = self.order[self.offsets[index] : self.offsets[index + 1]]
        return part

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Held(Mapping[str, P], Generic[P]):
    """Client -> its examples, taken from the pool when they are asked for, and not kept."""

    def __init__(self, pool: P, parts: Parts) -> None:
        self.pool = pool
        self.parts = parts

    def __getitem__(self, name: str) -> P:
        return self.pool.select(self.parts[name])  # type: ignore[return-value]  # its own type

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)


def _ends(sizes: Iterable[int]) -> np.ndarray:
    return np.cumsum([0, *sizes], dtype=np.int64)
