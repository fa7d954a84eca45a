"""``fedtt train``: a run whose clients are in this process, or on sites of this machine."""

import threading
from pathlib import Path
from typing import Any

from fedtt.cli.begin import Asked, Output, begin, loading, show_result
from fedtt.cli.console import console
from fedtt.cli.interrupt import interrupt_flag, stop_if_asked
from fedtt.cli.terminal_tables import print_start
from fedtt.config import RunConfig
from fedtt.errors import ConfigError

LOCAL, FLOWER = ENGINES = ("local", "flower")


def train_command(asked: Asked, output: Output, *, engine: str, sites: int | None) -> None:
    """Start a run, or resume one, and show its result."""
    _check_engine(engine, sites=sites)
    given = asked.config()
    with interrupt_flag() as stop:
        train = _train_here if engine == LOCAL else _train_on_sites
        result = train(asked, given, sites=sites, silent=output.silent, stop=stop)
    if result is None:  # the process that leads has it
        return
    summary, path = result
    show_result(summary, path, output)


def _check_engine(engine: str, *, sites: int | None) -> None:
    if engine not in ENGINES:
        raise ConfigError(
            "no such engine", where="--engine", got=engine, expected=" or ".join(ENGINES)
        )
    if engine != FLOWER and sites is not None:
        raise ConfigError("--sites goes with --engine flower", got=f"--sites {sites}")
    if engine == FLOWER:
        from fedtt.sites.flower.version import check_flower

        check_flower()


def _train_here(
    asked: Asked,
    given: RunConfig | None,
    *,
    sites: int | None,  # noqa: ARG001  (the other engine's)
    silent: bool,
    stop: threading.Event,
) -> tuple[dict[str, Any], Path] | None:
    """The summary and the directory of the run; None in a process that only helps."""
    with loading(silent=silent):
        from fedtt import experiment
        from fedtt.cli.progress import watch
        from fedtt.engine.build import Federation, build_federation
        from fedtt.engine.processes import join_processes

    processes = join_processes()
    if processes is not None and not processes.leads:
        experiment.help_experiment(processes, should_stop=stop.is_set)
        return None
    stop_if_asked(stop, fix="start again; nothing was written")

    def build(config: RunConfig) -> Federation:
        if processes is not None:
            experiment.call_helpers(processes, config)
        return build_federation(config)

    begun = begin(asked, given, build, stop=stop)
    out = console()
    if not silent:
        print_start(out, begun.federation.notes, begun.directory.path)
    with watch(out, silent=silent) as notify:
        summary = experiment.run_experiment(
            begun.config,
            begun.federation,
            begun.directory,
            notify=notify,
            should_stop=stop.is_set,
            processes=processes,
        )
    return summary, begun.directory.path


def _train_on_sites(
    asked: Asked,
    given: RunConfig | None,
    *,
    sites: int | None,
    silent: bool,
    stop: threading.Event,
) -> tuple[dict[str, Any], Path]:
    """The summary and the directory of the run."""
    with loading(silent=silent):
        from fedtt.cli.loopback import train_on_loopback
        from fedtt.engine.build import Federation, build_federation
        from fedtt.engine.build_checks import check_kept_here
        from fedtt.engine.hostile_clients import check_no_attack

    stop_if_asked(stop, fix="start again; nothing was written")

    def build(config: RunConfig) -> Federation:
        check_kept_here(config, elsewhere="sites")
        check_no_attack(config.attack, elsewhere="--engine flower")
        return build_federation(config)

    begun = begin(asked, given, build, stop=stop)
    summary = train_on_loopback(begun, sites=sites, silent=silent, stop=stop)
    return summary, begun.directory.path
