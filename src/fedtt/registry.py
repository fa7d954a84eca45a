"""Tables of what there is by name: methods, schedules, aggregations, codecs, trackers.

A table is light: its rows are values, or the places where values are made, ``"module:attribute"``,
imported when somebody asks. So a configuration can be checked without torch, and what another
package registers is known everywhere at once.

An installed package adds rows by entry points, too: those of the table's ``group``. They are found
when the table is first read, and imported when one of them is asked for; one that cannot be ends
nothing but what asked for it.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from fedtt.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """``name -> value``; ``kind`` is what the rows are called in messages ("schedule").

    :meth:`register` and :meth:`having` are what changes it. ``group`` is that of the entry points
    by which packages add rows; ``accepts`` says whether what they bring can be one.
    """

    def __init__(
        self,
        kind: str,
        rows: Mapping[str, "T | str"],
        *,
        group: str = "",
        accepts: Callable[[object], bool] = callable,
    ) -> None:
        self.kind = kind
        self.own_names = tuple(rows)
        self._rows: dict[str, T | str] = dict(rows)
        self._group = group
        self._accepts = accepts

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """Every name: the table's own in their order, what was registered, what packages bring."""
        return tuple(dict.fromkeys((*self._rows, *self._brought())))

    def register(self, name: str, row: "T | str") -> None:
        """Add a row: a value, or ``"module:attribute"``.

        Raises :class:`ConfigError` for a name that is taken.
        """
        if name in self:
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
        names = self.names
        if name not in names:
            close = get_close_matches(name.casefold(), names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"no {self.kind} is called {name!r}.{hint} There are: {', '.join(names)}"
            )
        return name

    def values(self) -> Iterator[T]:
        """Every value, but what another package brings and cannot be had."""
        for name in self.names:
            try:
                value = self[name]
            except ConfigError:
                if name in self._rows:
                    raise
                continue
            yield value

    def at_hand(self) -> Iterator[T]:
        """The table's own values, and of the others those that nothing is imported for."""
        for name in self.names:
            if name in self.own_names or self._is_loaded(name):
                with suppress(ConfigError):
                    yield self[name]

    def __getitem__(self, name: str) -> T:
        """The value of that name. Raises :class:`ConfigError` for one that there is not."""
        if name not in self._rows:
            try:
                self.check(name)
            except ValueError as error:
                raise ConfigError(str(error)) from error
            return self._load(name)
        row = self._rows[name]
        if not isinstance(row, str):
            return row
        value: T = _imported(row)
        return value

    def _brought(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        if not self._group:
            return {}
        brought = _rows_of_packages(self._group, tuple(sys.path))
        for name in brought.keys() & set(self.own_names):
            packages = " and ".join(map(_package_of, brought[name]))
            warnings.warn(
                f"{packages}: a {self.kind} called {name!r} is refused, since fedtt has one",
                stacklevel=2,
            )
        return brought

    def _is_loaded(self, name: str) -> bool:
        if name in self._rows:
            row = self._rows[name]
            return not isinstance(row, str) or row.partition(":")[0] in sys.modules
        return all(point.module in sys.modules for point in self._brought()[name])

    def _load(self, name: str) -> T:
        """What a package brings. Raises :class:`ConfigError` naming the package."""
        rows = self._brought()[name]
        if len(rows) > 1:
            raise ConfigError(
                f"several packages bring a {self.kind} of that name",
                where=name,
                got=" and ".join(sorted(map(_package_of, rows))),
                fix="uninstall all of them but one",
            )
        (row,) = rows
        what = f"the {self.kind} {name!r}, which the package {_package_of(row)} brings,"
        fix = f"mend {_package_of(row)}, or uninstall it"
        try:
            value: T = row.load()
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{what} cannot be loaded", where=row.value, got=got, fix=fix
            ) from error
        if not self._accepts(value):
            got = type(value).__name__
            raise ConfigError(f"{what} is none", where=row.value, got=got, fix=fix)
        return value


def built_by(place: str) -> Any:
    """What is at ``"module:attribute"``. Raises :class:`ConfigError` where it cannot be had."""
    try:
        return _imported(place)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            "what a row of a table names cannot be loaded",
            where=place,
            got=f"{type(error).__name__}: {error}",
            fix=f"mend or reinstall the package {place.partition('.')[0].partition(':')[0]}",
        ) from error


def _imported(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _rows_of_packages(
    group: str,
    path: tuple[str, ...],
) -> Mapping[str, tuple[EntryPoint, ...]]:
    rows: dict[str, tuple[EntryPoint, ...]] = {}
    for point in _installed(path).select(group=group):
        rows[point.name] = (*rows.get(point.name, ()), point)
    return rows


@cache
def _installed(path: tuple[str, ...]) -> Any:  # noqa: ARG001
    """Of every package that is on the path now; read once for all tables."""
    return entry_points()


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module
