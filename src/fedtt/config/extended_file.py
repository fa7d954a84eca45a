"""A configuration that ``extends`` another one: the other's keys, where it has none of its own."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedtt.config.overrides import Table
from fedtt.errors import ConfigError
from fedtt.preset_files import find_config

EXTENDS = "extends"
COMPARE = "compare"  # the section that makes a comparison of it
OF_A_RUN = ("method", "seed")  # what a comparison's axes set
# The key of a section that says what its other keys are about.
ABOUT: Mapping[str, str] = {"method": "name", "partition": "kind", "task": "kind", "attack": "kind"}
ReadFile = Callable[[Path], Table]


def read_extended(path: Path, *, read: ReadFile) -> Table:
    """The table of a file over that of the one it extends, and so on down.

    ``read`` gives the table of one file. What a file extends is a path relative to it or, where no
    such file is, the name of a preset. Of a run that a comparison extends neither method nor seed
    is taken, of a comparison that a run extends not ``[compare]``.

    Raises:
        ConfigError: a file that cannot be read, that extends what is no name of a file, or that
            comes back to itself.
    """
    (first, *others) = _chain(path, read=read)
    _, table = first
    for place, below in others:
        taken = {key: value for key, value in below.items() if _is_taken(key, below, table)}
        try:
            table = laid_over(taken, table)
        except RecursionError as error:
            raise ConfigError("sections are nested too deeply", where=str(place)) from error
    return table


def extended_files(path: Path, *, read: ReadFile) -> list[Path]:
    """The file and those that it extends, one after another. Raises like :func:`read_extended`."""
    return [place for place, _ in _chain(path, read=read)]


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """The keys of both, section by section; where both have one, the value is ``above``'s.

    ``""`` takes a key of ``below``'s away. A section that is about another thing than ``below``'s,
    such as another method, is ``above``'s alone.
    """
    table = dict(below)
    for key, value in above.items():
        beneath = below.get(key)
        if value == "" and beneath is not None:
            del table[key]
        elif (
            isinstance(value, Mapping)
            and isinstance(beneath, Mapping)
            and _is_about_the_same(key, value, beneath)
        ):
            table[key] = laid_over(beneath, value)
        else:
            table[key] = value
    return table


def _is_about_the_same(key: str, above: Mapping[str, Any], below: Mapping[str, Any]) -> bool:
    about = ABOUT.get(key)
    return about is None or above.get(about, below.get(about)) == below.get(about)


def _is_taken(key: str, below: Table, above: Table) -> bool:
    """Not what belongs to a comparison, or to a single run, where the other kind extends it."""
    if COMPARE in above and COMPARE not in below:
        return key not in OF_A_RUN
    return key != COMPARE or COMPARE in above


def _chain(path: Path, *, read: ReadFile) -> list[tuple[Path, Table]]:
    """The file and those that it extends, each with its own table."""
    table = read(path)
    chain = [(path, table)]
    while (asked := table.pop(EXTENDS, None)) is not None:
        places = [place for place, _ in chain]
        found = _find(asked, chain=places)
        try:
            table = read(found)
        except ConfigError as error:
            raise ConfigError(
                "what a configuration extends cannot be used", where=str(places[-1]), got=str(error)
            ) from error
        chain.append((found, table))
    return chain


def _find(asked: object, *, chain: list[Path]) -> Path:
    """The file that the last of the chain extends, which may be none yet in it."""
    asking = chain[-1]
    if not isinstance(asked, str) or not asked:
        raise ConfigError(
            f"{EXTENDS} names no configuration",
            where=str(asking),
            got=repr(asked),
            expected="the path of one TOML file, relative to this one, or the name of a preset",
        )
    try:
        # os.path: pathlib raises for the home of a user there is not.
        found = find_config(os.path.expanduser(asked), folder=asking.parent)  # noqa: PTH111
        came_round = found.resolve() in [one.resolve() for one in chain]
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero in the name
        raise ConfigError(
            f"{EXTENDS} names no configuration", where=str(asking), got=f"{asked!r}: {error}"
        ) from error
    if came_round:
        raise ConfigError(
            "a configuration extends itself",
            where=str(chain[0]),
            got=" extends ".join(str(one) for one in [*chain, found]),
            fix=f"take {EXTENDS} out of one of them",
        )
    return found
