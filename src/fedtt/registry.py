"""Tables of what there is by name: methods, schedules, aggregations, codecs, trackers.

A table is light: its rows are values, or the places where values are made, ``"module:attribute"``,
imported when somebody asks. So a configuration can be checked without torch, and what another
package registers is known everywhere at once.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Generic, TypeVar

from fedtt.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """``name -> value``; ``kind`` is what the rows are called in messages ("schedule").

    :meth:`register` and :meth:`having` are what changes it.
    """

    def __init__(self, kind: str, rows: Mapping[str, "T | str"]) -> None:
        self.kind = kind
        self._rows: dict[str, T | str] = dict(rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order of the table."""
        return tuple(self._rows)

    def register(self, name: str, row: "T | str") -> None:
        """Add a row: a value, or ``"module:attribute"``.

        Raises :class:`ConfigError` for a name that is taken.
        """
        if name in self._rows:
            raise ConfigError(
                f"there is a {self.kind} of that name", got=name, fix="choose another name"
            )
        self._rows[name] = row

    @contextmanager
    def having(self, name: str, row: "T | str") -> Iterator[None]:
        """Like :meth:`register`, for the duration of the block."""
        self.register(name, row)
        try:
            yield
        finally:
            del self._rows[name]

    def check(self, name: str) -> str:
        """``name``, if the table has it. Raises ``ValueError`` with the choices and the nearest."""
        if name not in self._rows:
            close = get_close_matches(name.casefold(), self.names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"no {self.kind} is called {name!r}.{hint} There are: {', '.join(self.names)}"
            )
        return name

    def __getitem__(self, name: str) -> T:
        """The value of that name. Raises :class:`ConfigError` for one that there is not."""
        try:
            row = self._rows[self.check(name)]
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not isinstance(row, str):
            return row
        module, _, attribute = row.partition(":")
        value: T = getattr(import_module(module), attribute)
        return value
