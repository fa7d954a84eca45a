"""``fedtt serve``: a run whose clients are sites."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedtt.cli.begin import Asked, Output, begin, loading, show_result
from fedtt.cli.console import console, print_error, print_line
from fedtt.cli.interrupt import interrupt_flag
from fedtt.cli.over_flower import run_over_flower
from fedtt.config import RunConfig
from fedtt.errors import ConfigError

if TYPE_CHECKING:
    from fedtt.engine.build import Federation
    from fedtt.sites.address import Address


def serve_command(
    asked: Asked, output: Output, *, address: str, keys: Path | None, plain_text: bool
) -> None:
    """Wait for the sites, run the rounds, and show the result."""
    from fedtt.sites.address import check_exposure, parse_address
    from fedtt.sites.flower.version import check_flower
    from fedtt.sites.ports import bind_port

    check_flower()
    place = parse_address(address, where="--address")
    warning = check_exposure(place, has_keys=keys is not None, plain_text=plain_text)
    given = asked.config()
    if warning is not None:
        print_error("warning: ", warning, style="bold yellow")
    with interrupt_flag() as stop, bind_port(place) as port:  # taken: said before all else
        with loading(silent=output.silent):
            from fedtt import experiment  # noqa: F401

        begun = begin(asked, given, _build, stop=stop)
        if not output.silent:
            _print_protections(begun.config, has_keys=keys is not None, address=place)
        summary = run_over_flower(
            begun,
            port=port,
            keys=keys,
            expected={name: [name] for name in begun.federation.population},
            silent=output.silent,
            stop=stop,
        )
    show_result(summary, begun.directory.path, output)


def _print_protections(config: RunConfig, *, has_keys: bool, address: "Address") -> None:
    from fedtt.sites.protections import protections_of

    out = console()
    lines = protections_of(config, has_keys=has_keys, is_loopback=address.is_loopback)
    for line in lines:
        mark = "protected" if line.holds else "not protected"
        print_line(out, f"{mark:>13}: {line.subject}: {line.text}")


def _build(config: RunConfig) -> "Federation":
    """The federation, which holds no data."""
    from fedtt.engine.build import build_federation
    from fedtt.engine.build_checks import check_kept_here
    from fedtt.engine.data import absent_data
    from fedtt.engine.hostile_clients import check_no_attack

    check_kept_here(config, elsewhere="sites")
    check_no_attack(config.attack, elsewhere="fedtt serve")
    data = absent_data(config.data, config.task, client_ids=_site_names(config))
    return build_federation(config, data)


def _site_names(config: RunConfig) -> Sequence[str]:
    if config.sites.names is None:
        raise ConfigError(
            "which sites may join is not said",
            where="sites.names",
            expected="a name for every site",
            fix='for example names = ["north", "south"]; or fedtt train CONFIG --engine flower',
        )
    if config.partition is not None:
        raise ConfigError(
            "sites have data of their own, which is not dealt out",
            where="partition",
            fix="leave [partition] out; fedtt train CONFIG --engine flower deals out data",
        )
    return config.sites.names
