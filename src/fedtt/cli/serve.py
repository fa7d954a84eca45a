"""``fedtt serve``: a run whose clients are sites."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtt.cli.console import console, print_error, print_line
from fedtt.cli.interrupt import interrupt_flag, stop_if_asked
from fedtt.cli.report import print_notes
from fedtt.cli.train import (
    check_apart,
    check_arguments,
    check_place,
    create_directory,
    loading,
    show_result,
)
from fedtt.config import RunConfig, load_config
from fedtt.errors import ConfigError

if TYPE_CHECKING:
    from fedtt.engine.build import Federation
    from fedtt.engine.flower.ports import BoundPort
    from fedtt.experiment import RunDirectory


def serve_command(
    config_path: Path | None,
    *,
    address: str,
    keys: Path | None,
    plain_text: bool,
    overrides: list[str],
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Wait for the sites, run the rounds, and show the result."""
    from fedtt.engine.flower.address import check_exposure, parse_address
    from fedtt.engine.flower.ports import bind_port
    from fedtt.engine.flower.version import check_flower

    check_flower()
    place = parse_address(address, where="--address")
    warning = check_exposure(place, has_keys=keys is not None, plain_text=plain_text)
    given = None if config_path is None else load_config(config_path, overrides=overrides)
    check_arguments(given, overrides, run=run, resume=resume, overwrite=overwrite, verb="serve")
    if config_path is not None and run is not None and overwrite:
        check_apart(config_path, run)
    if warning is not None:
        print_error("warning: ", warning, style="bold yellow")
    silent = quiet or as_json
    with interrupt_flag() as stop, bind_port(place) as port:  # taken: said before all else
        config, federation, directory = _prepare(
            given, run=run, resume=resume, overwrite=overwrite, silent=silent, stop=stop
        )
        summary = run_over_flower(
            config,
            federation,
            directory,
            port=port,
            keys=keys,
            expected={name: [name] for name in federation.population},
            silent=silent,
            stop=stop,
        )
    show_result(summary, directory.path, quiet=quiet, as_json=as_json)


def run_over_flower(
    config: RunConfig,
    federation: "Federation",
    directory: "RunDirectory",
    *,
    port: "BoundPort",
    keys: Path | None,
    expected: Mapping[str, Sequence[str]],
    silent: bool,
    stop: threading.Event,
) -> dict[str, Any]:
    """Run what is left of the run with the sites that come to ``port``; the summary."""
    from fedtt import experiment
    from fedtt.cli.progress import watch
    from fedtt.engine.flower.serve import connected_sites

    out = console()
    if not silent:
        print_notes(out, federation.notes)
        where = f"{port.address}; logs in {directory.path}"
        print_line(out, f"{len(expected)} sites may join at {where}")
    with (
        watch(out, silent=silent) as notify,
        connected_sites(
            config,
            federation,
            port=port,
            keys=keys,
            logs=directory.path,
            expected=expected,
            tell=lambda site, what: notify(experiment.SiteNews(site=site, what=what)),
            on_wait=lambda index, answered, asked, left: notify(
                experiment.Waiting(
                    round_index=index, answered=answered, asked=asked, seconds_left=left
                )
            ),
            should_stop=stop.is_set,
        ) as sites,
    ):
        summary = experiment.run_with_sites(config, federation, directory, sites, notify=notify)
        sites.close()
        return summary


def _prepare(
    given: RunConfig | None,
    *,
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    silent: bool,
    stop: threading.Event,
) -> tuple[RunConfig, "Federation", "RunDirectory"]:
    """The run, new or taken up again; its federation holds no data."""
    with loading(silent=silent):
        from fedtt import experiment
        from fedtt.engine.build import build_federation, settle
        from fedtt.engine.data import absent_data
    if resume is not None:
        opened = experiment.open_run(resume)
        config = opened.config()
        if given is not None:
            experiment.check_same_config(config, given, where=resume)
    else:
        if given is None:
            raise AssertionError("checked by check_arguments")
        config = settle(given)
        check_place(run, overwrite=overwrite)
    data = absent_data(config.data, config.task, client_ids=_site_names(config))
    federation = build_federation(config, data)
    stop_if_asked(stop, fix="start again; nothing was written")
    if resume is None:
        opened = create_directory(run, config, overwrite=overwrite)
    return config, federation, opened


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
