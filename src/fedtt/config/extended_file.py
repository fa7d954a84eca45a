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


def read_extended(path: Path, *, read: Callable[[Path], Table]) -> Table:
    """The table of a file over that of the one it extends, and so on down.

    ``read`` gives the table of one file. What a file extends is a path relative to it or, where no
    such file is, the name of a preset. Of a run that a comparison extends neither method nor seed
    is taken, of a comparison that a run extends not ``[compare]``.

    Raises:
        ConfigError: a file that cannot be read, that extends what is no name of a file, or that
            comes back to itself.
    """
    table = read(path)
    chain = [path]
    while (asked := table.pop(EXTENDS, None)) is not None:
        chain.append(_find(asked, chain=chain))
        below = _read_below(chain, read=read)
        table = laid_over({k: v for k, v in below.items() if _is_taken(k, below, table)}, table)
    return table


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """The keys of both, section by section; where both have one, the value is ``above``'s."""
    table = dict(below)
    for key, value in above.items():
        beneath = below.get(key)
        if isinstance(value, Mapping) and isinstance(beneath, Mapping):
            table[key] = laid_over(beneath, value)
        else:
            table[key] = value
    return table


def _is_taken(key: str, below: Table, above: Table) -> bool:
    """Not what belongs to a comparison, or to a single run, where the other kind extends it."""
    if COMPARE in above and COMPARE not in below:
        return key not in OF_A_RUN
    return key != COMPARE or COMPARE in above


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
    # os.path: pathlib raises for the home of a user there is not.
    found = find_config(os.path.expanduser(asked), folder=asking.parent)  # noqa: PTH111
    if found.resolve() in [one.resolve() for one in chain]:
        raise ConfigError(
            "a configuration extends itself",
            where=str(chain[0]),
            got=" extends ".join(str(one) for one in [*chain, found]),
            fix=f"take {EXTENDS} out of one of them",
        )
    return found


def _read_below(chain: list[Path], *, read: Callable[[Path], Table]) -> Table:
    try:
        return read(chain[-1])
    except ConfigError as error:
        raise ConfigError(
            "what a configuration extends cannot be used", where=str(chain[-2]), got=str(error)
        ) from error
