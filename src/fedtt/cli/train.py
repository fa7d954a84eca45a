"""``fedtt train``: what is checked before, and what is shown after, a run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtt.cli.console import console, print_json
from fedtt.cli.interrupt import interrupt_flag, stop_if_asked
from fedtt.cli.report import print_notes, print_result
from fedtt.config import RunConfig, load_config
from fedtt.errors import ConfigError

if TYPE_CHECKING:
    from fedtt.experiment import RunDirectory

DEFAULT_PARENT = Path("runs")
LOCAL, FLOWER = ENGINES = ("local", "flower")


def train_command(
    config_path: Path | None,
    *,
    overrides: list[str],
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    engine: str,
    sites: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Start a run, or resume one, and show its result."""
    _check_engine(engine, sites=sites)
    given = None if config_path is None else load_config(config_path, overrides=overrides)
    check_arguments(given, overrides, run=run, resume=resume, overwrite=overwrite)
    if config_path is not None and run is not None and overwrite:
        check_apart(config_path, run)
    silent = quiet or as_json
    with interrupt_flag() as stop:
        result = _train(
            given,
            run=run,
            resume=resume,
            overwrite=overwrite,
            engine=engine,
            sites=sites,
            silent=silent,
            stop=stop,
        )
    if result is None:  # the process that leads has it
        return
    summary, path = result
    show_result(summary, path, quiet=quiet, as_json=as_json)


def _check_engine(engine: str, *, sites: int | None) -> None:
    if engine not in ENGINES:
        raise ConfigError(
            "no such engine", where="--engine", got=engine, expected=" or ".join(ENGINES)
        )
    if engine != FLOWER and sites is not None:
        raise ConfigError("--sites goes with --engine flower", got=f"--sites {sites}")
    if engine == FLOWER:
        from fedtt.engine.flower.version import check_flower

        check_flower()


def check_arguments(
    given: RunConfig | None,
    overrides: list[str],
    *,
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    verb: str = "train",
) -> None:
    """Raise :class:`ConfigError` for options that do not go together."""
    if given is None and resume is None:
        raise ConfigError(
            f"nothing to {verb}",
            expected="a configuration file, or --resume RUN",
            fix=f"fedtt {verb} presets/silos.toml",
        )
    if given is None and overrides:
        raise ConfigError("--set changes a CONFIG, and none is given", got=", ".join(overrides))
    if resume is not None and (run is not None or overwrite):
        raise ConfigError(
            "--resume goes on in the run's own directory", fix="leave --run and --overwrite out"
        )


def check_apart(config_path: Path, run: Path) -> None:
    """Raise :class:`ConfigError` where overwriting the run would delete the configuration."""
    if run.resolve() in config_path.resolve().parents:
        raise ConfigError(
            "the run directory holds the configuration that is given",
            where=f"--run {run} --overwrite",
            got=config_path,
            fix="give another directory with --run, or move the configuration out of it",
        )


def _train(
    given: RunConfig | None,
    *,
    run: Path | None,
    resume: Path | None,
    overwrite: bool,
    engine: str,
    sites: int | None,
    silent: bool,
    stop: threading.Event,
) -> tuple[dict[str, Any], Path] | None:
    """The summary and the directory of the run; None in a process that only helps."""
    out = console()
    with loading(silent=silent):
        from fedtt import experiment
        from fedtt.cli.progress import watch
        from fedtt.engine.build import build_federation, settle
        from fedtt.engine.processes import join_processes

    processes = join_processes() if engine == LOCAL else None
    if processes is not None and not processes.leads:
        experiment.help_experiment(processes, should_stop=stop.is_set)
        return None
    stop_if_asked(stop, fix="start again; nothing was written")
    if resume is not None:
        directory = experiment.open_run(resume)
        config = directory.config()
        if given is not None:
            experiment.check_same_config(config, given, where=resume)
        if processes is not None:
            experiment.call_helpers(processes, config)
        federation = build_federation(config)
        stop_if_asked(stop, fix=f"fedtt train --resume {resume} goes on")
    else:
        if given is None:
            raise AssertionError("checked by check_arguments")
        config = settle(given)
        check_place(run, overwrite=overwrite)
        if processes is not None:
            experiment.call_helpers(processes, config)
        federation = build_federation(config)
        stop_if_asked(stop, fix="start again; nothing was written")
        directory = create_directory(run, config, overwrite=overwrite)
    if engine == FLOWER:
        from fedtt.cli.loopback import train_on_loopback

        summary = train_on_loopback(
            config, federation, directory, sites=sites, silent=silent, stop=stop
        )
        return summary, directory.path
    if not silent:
        print_notes(out, federation.notes)
    with watch(out, silent=silent) as notify:
        summary = experiment.run_experiment(
            config,
            federation,
            directory,
            notify=notify,
            should_stop=stop.is_set,
            processes=processes,
        )
    return summary, directory.path


def check_place(run: Path | None, *, overwrite: bool) -> None:
    """Raise :class:`RunError` unless :func:`create_directory` can do what it is asked for."""
    from fedtt.experiment import check_creatable, check_new_run

    if run is None:
        check_creatable(DEFAULT_PARENT)
    else:
        check_new_run(run, overwrite=overwrite)


def create_directory(run: Path | None, config: RunConfig, *, overwrite: bool) -> "RunDirectory":
    """The directory that was asked for, or a new one under ``runs/`` that nobody else has."""
    from fedtt.experiment import create_named_run, create_run

    if run is not None:
        return create_run(run, config, overwrite=overwrite)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{config.method.name}-seed{config.seed}".replace(":", "-")
    return create_named_run(DEFAULT_PARENT, name, config)


def show_result(summary: dict[str, Any], path: Path, *, quiet: bool, as_json: bool) -> None:
    """On stdout, as asked for."""
    if as_json:
        print_json(summary)
    elif not quiet:
        print_result(summary, path=path)


@contextmanager
def loading(*, silent: bool) -> Iterator[None]:
    """A live line, on a terminal, while the block imports what takes seconds."""
    out = console()
    if silent or not out.is_terminal:
        yield
    else:
        with out.status("loading torch and transformers ..."):
            yield
