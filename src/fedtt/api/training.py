"""``fedtt.train`` and ``fedtt.resume``: a run from its configuration to its result."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtt.api.own_data import Examples, keep_examples, with_path
from fedtt.api.saved_run import Run
from fedtt.cli.console import console
from fedtt.cli.progress import watch
from fedtt.config import RunConfig, override_config, parse_config
from fedtt.config.anchored_paths import anchor_paths
from fedtt.config.parse import read_table
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError
from fedtt.experiment import BegunRun, Event, Notify, begin_new, run_experiment, take_up_run
from fedtt.model_place import check_model_place
from fedtt.run_place import DEFAULT_PARENT, check_creatable, check_new_run

Configuration = RunConfig | Mapping[str, Any] | str | Path


def train(
    config: Configuration,
    *,
    data: Examples | None = None,
    run: str | Path | None = None,
    overrides: Iterable[str] = (),
    overwrite: bool = False,
    on_event: Notify | None = None,
    progress: bool = True,
) -> Run:
    """Train as ``fedtt train`` does, all clients in this process, and return the run.

    ``config`` is a :class:`RunConfig`, the path of a TOML file, or the nested table that such a
    file holds; ``overrides`` are ``"key=value"``, as of ``--set``. ``data`` goes with a
    configuration that names none: its rows are kept as a file beside the run. ``run`` is a new
    directory (default: one under ``runs/``); ``overwrite`` deletes an earlier run in it.
    ``on_event`` hears what :mod:`fedtt.experiment.events` lists. Interrupted, the run is on disk
    after its last finished round, and :func:`resume` goes on.

    Raises :class:`~fedtt.errors.FedttError` for whatever is wrong with what was given, before
    anything is computed.
    """
    _refuse_helpers()
    place = None if run is None else Path(run)
    if place is None:
        check_creatable(DEFAULT_PARENT)
    else:
        check_new_run(place, overwrite=overwrite)
    given = _configuration(
        config, data=data, beside=DEFAULT_PARENT if place is None else place.parent
    )
    given = override_config(given, overrides) if (overrides := tuple(overrides)) else given
    check_model_place(given.model.name)
    begun = begin_new(given, build_federation, place=place, overwrite=overwrite)
    return _finish(begun, on_event, progress=progress)


def resume(
    run: "str | Path | Run", *, on_event: Notify | None = None, progress: bool = True
) -> Run:
    """Go on with a run that stopped, to the bits it would have had; a finished one is only read.

    Raises :class:`~fedtt.errors.RunError` where there is none, or data or base model changed.
    """
    _refuse_helpers()
    place = run.path if isinstance(run, Run) else Path(run)
    return _finish(take_up_run(place, build_federation), on_event, progress=progress)


def _finish(begun: BegunRun, on_event: Notify | None, *, progress: bool) -> Run:
    with _followed(on_event, progress=progress) as notify:
        run_experiment(begun.config, begun.federation, begun.directory, notify=notify)
    return Run(begun.directory.path)


@contextmanager
def _followed(on_event: Notify | None, *, progress: bool) -> Iterator[Notify]:
    with watch(console(), silent=not progress) as show:

        def notify(event: Event) -> None:
            show(event)
            if on_event is not None:
                on_event(event)

        yield notify


def _configuration(config: Configuration, *, data: Examples | None, beside: Path) -> RunConfig:
    if isinstance(config, RunConfig):
        if data is None:
            return config
        config = config.model_dump(mode="json", exclude_none=True)
    if isinstance(config, Mapping):
        table, where = anchor_paths(_with_text_paths(config), folder=Path.cwd()), "config"
    elif isinstance(config, str | Path):
        table, where = read_table(Path(config)), str(config)
    else:
        raise ConfigError(
            "no configuration",
            where="config",
            got=type(config).__name__,
            expected="a RunConfig, the path of a TOML file, or a table such as {'rounds': 10, ...}",
        )
    if data is not None:
        table = with_path(table, keep_examples(data, beside))
    return parse_config(table, where=where)


def _with_text_paths(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table as a TOML file has it, where paths are strings."""
    return {
        key: _with_text_paths(value)
        if isinstance(value, Mapping)
        else str(value)
        if isinstance(value, Path)
        else value
        for key, value in table.items()
    }


def _refuse_helpers() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "a Python call trains in one process",
            got=f"WORLD_SIZE = {os.environ['WORLD_SIZE']}",
            fix="torchrun ... -m fedtt train CONFIG (docs/scale.md)",
        )
