"""One process's share of what is dealt out among several."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Every ``size``-th item, from number ``rank`` on; all of them by default."""

    rank: int = 0
    size: int = 1

    def of(self, items: Iterable[T]) -> Iterator[T]:
        """The items of this process, in their order."""
        return islice(items, self.rank, None, self.size)

    def takes(self, index: int) -> bool:
        """Whether item ``index`` is one of them."""
        return index % self.size == self.rank


EVERYTHING = Turn()
