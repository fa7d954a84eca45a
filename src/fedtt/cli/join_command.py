"""``fedtt join``: take part in a run with this machine's own data."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedtt.cli.begin import loading
from fedtt.cli.console import console, print_error, print_line
from fedtt.cli.interrupt import interrupt_flag
from fedtt.errors import ConfigError

if TYPE_CHECKING:
    from fedtt.sites.data_shares import Share
    from fedtt.sites.keys import SiteKeys


@dataclass(frozen=True, kw_only=True)
class Joining:
    """Which server, as which site, with which data.

    ``share`` stands for data where one machine plays all sites; ``agreed`` is the configuration
    that the server's must equal; ``state``, left out, is where the keys are. All runs together
    may spend ``max_epsilon`` of the examples' privacy, at ``delta``.
    """

    server: str
    data: Path | None
    share: str | None
    name: str | None
    keys: Path | None
    plain_text: bool
    agreed: Path | None
    overrides: list[str]
    logs: Path | None
    state: Path | None
    max_epsilon: float | None
    delta: float
    patience: float


def join_command(asked: Joining, *, quiet: bool) -> None:
    """Train for the server until its run is over, or Ctrl-C."""
    from fedtt.sites.address import check_exposure, parse_address
    from fedtt.sites.flower.process_ending import end_with_parent
    from fedtt.sites.flower.version import check_flower
    from fedtt.sites.keys import load_site_keys

    check_flower()
    place = parse_address(asked.server, where="--server")
    warning = check_exposure(place, has_keys=asked.keys is not None, plain_text=asked.plain_text)
    keys = None if asked.keys is None else load_site_keys(asked.keys)
    own_name = _name(asked.name, keys)
    held = _held(asked.data, asked.share)
    if warning is not None:
        print_error("warning: ", warning, style="bold yellow")
    out = console()
    if asked.share is not None:  # a try on one machine, and a child of it
        end_with_parent()
    with interrupt_flag() as stop, tempfile.TemporaryDirectory(prefix="fedtt-") as scratch:
        with loading(silent=quiet):
            from fedtt.sites.flower.flower_site import join_federation
            from fedtt.sites.site_data import SiteData
            from fedtt.sites.site_examples import SpendingLimit
            from fedtt.sites.site_worker import Worker
        worker = Worker(
            SiteData(name=own_name, data=held, agreed=asked.agreed, overrides=asked.overrides),
            tell=(lambda _line: None) if quiet else (lambda line: print_line(out, line)),
            should_stop=stop.is_set,
            state=asked.state or asked.keys,
            spending_limit=None
            if asked.max_epsilon is None
            else SpendingLimit(epsilon=asked.max_epsilon, delta=asked.delta),
        )
        if asked.logs is not None:
            asked.logs.mkdir(parents=True, exist_ok=True)
        join_federation(
            worker,
            server=place,
            keys=keys,
            logs=asked.logs or Path(scratch),
            patience=asked.patience,
            should_stop=stop.is_set,
        )


def _name(name: str | None, keys: "SiteKeys | None") -> str:
    """The site's name, which its key fixes where it has one."""
    if keys is not None:
        if name is not None and name != keys.name:
            raise ConfigError(
                "a key may act only as its own site", where="--name", got=name, expected=keys.name
            )
        return keys.name
    if name is None:
        raise ConfigError(
            "which site this is is not said",
            where="--name",
            expected="one of the server's sites.names",
            fix="give --name NAME, or --keys DIR with the site's own keys",
        )
    return name


def _held(data: Path | None, share: str | None) -> "Path | Share":
    from fedtt.sites.data_shares import parse_share

    if (data is None) == (share is None):
        raise ConfigError(
            "a site has data of its own",
            where="--data",
            expected="a .csv, .jsonl, .json or .parquet file with this site's examples",
        )
    if share is not None:
        return parse_share(share)
    if data is not None and not data.is_file():
        raise ConfigError("no such file", where="--data", got=data)
    if data is None:
        raise AssertionError("checked above")
    return data
