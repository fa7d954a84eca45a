"""Shares of one data set for several sites of one machine: to try out what sites do. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedtt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Share:
    """Every ``count``-th client of the run's own data from ``index`` on."""

    index: int
    count: int

    def of(self, clients: Sequence[str]) -> tuple[str, ...]:
        """The clients of this share."""
        return tuple(clients[self.index :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_share(text: str) -> Share:
    """A share as ``str`` writes it. Raises :class:`ConfigError`."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(
            "not a share", where="--share", got=text, expected="INDEX/COUNT, such as 0/3"
        )
    return Share(index=int(index), count=int(count))
