"""``fedtt.train`` and ``fedtt.resume``: a run from its configuration to its result."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fedtt.api.own_data import Examples, columns_of, pack_examples, with_path
from fedtt.api.saved_run import Run
from fedtt.cli.begin import check_apart
from fedtt.cli.console import console
from fedtt.cli.interrupt import interrupt_flag
from fedtt.cli.progress import watch
from fedtt.cli.report_command import leave_report
from fedtt.cli.terminal_tables import print_notes
from fedtt.config import RunConfig, parse_config
from fedtt.config.anchored_paths import anchor_paths
from fedtt.config.overrides import Table
from fedtt.config.parse import apply_overrides, read_table
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError, DataError
from fedtt.experiment import BegunRun, Event, Notify, begin_new, run_experiment, take_up_run
from fedtt.experiment import open_run as open_directory
from fedtt.model_place import check_model_place
from fedtt.run_place import DEFAULT_PARENT, check_creatable, check_new_run

Configuration = RunConfig | Mapping[str, Any] | str | Path
NOT_YET = Path("the data")  # stands for the path of what is not written yet


def train(
    config: Configuration,
    *,
    data: Examples | None = None,
    run: str | Path | None = None,
    overrides: str | Iterable[str] = (),
    overwrite: bool = False,
    on_event: Notify | None = None,
    progress: bool = True,
) -> Run:
    """Train as ``fedtt train`` does, all clients in this process, and return the run.

    ``config`` is a :class:`RunConfig`, the path of a TOML file, a preset's name, or the nested
    table of such a file, whose paths are relative to the working directory; ``overrides`` are
    ``"key=value"``, as of ``--set``. ``data`` goes with a file or a table that names none: the
    columns that the configuration reads are kept as a file beside the run. ``run`` is a new
    directory (default: one under ``runs/``); ``overwrite`` deletes an earlier run in it.
    ``on_event`` hears what :mod:`fedtt.experiment.events` lists. Ctrl-C ends after the step, as
    :class:`KeyboardInterrupt`; the run is then on disk after its last finished round, and
    :func:`resume` goes on.

    Raises :class:`~fedtt.errors.FedttError` for whatever is wrong with what was given, before
    anything is computed.
    """
    _refuse_helpers()
    place = None if run is None else Path(run)
    if place is None:
        check_creatable(DEFAULT_PARENT)
    else:
        check_new_run(place, overwrite=overwrite)
        if isinstance(config, str | Path) and overwrite:
            check_apart(Path(config), place)
    table, where = _table(config)
    table = apply_overrides(table, [overrides] if isinstance(overrides, str) else overrides)
    kept = None
    if data is not None:
        asked = parse_config(with_path(table, NOT_YET), where=where)
        beside = DEFAULT_PARENT if place is None else place.absolute().parent
        kept = pack_examples(data, columns=columns_of(asked), beside=beside)
        table = with_path(table, kept.path)
    given = parse_config(table, where=where)
    check_model_place(given.model.name)
    with _stoppable() as check, ExitStack() as undo:
        if kept is not None and kept.write():
            undo.callback(kept.remove)
        try:
            begun = begin_new(
                given, build_federation, place=place, overwrite=overwrite, before_writing=check
            )
        except DataError as error:
            if kept is None:
                raise
            # The caller knows no such file, and it is taken away again.
            raise DataError(str(error).replace(str(kept.path), "data=")) from error
        undo.pop_all()  # what is kept now belongs to a run
        return _finish(begun, on_event, progress=progress, check=check)


def resume(
    run: "str | Path | Run", *, on_event: Notify | None = None, progress: bool = True
) -> Run:
    """Go on with a run that stopped, to the bits it would have had; a finished one is only read.

    Raises :class:`~fedtt.errors.RunError` where there is none, or data or base model changed.
    """
    _refuse_helpers()
    place = run.path if isinstance(run, Run) else Path(run)
    if open_directory(place).summary() is not None:
        return Run(place.absolute())
    with _stoppable() as check:
        begun = take_up_run(place, build_federation)
        return _finish(begun, on_event, progress=progress, check=check)


def _finish(
    begun: BegunRun, on_event: Notify | None, *, progress: bool, check: Callable[[], None]
) -> Run:
    if progress:
        print_notes(console(), begun.federation.notes)

    def heard(event: Event) -> None:
        show(event)
        if on_event is not None:
            on_event(event)

    def should_stop() -> bool:
        check()
        return False

    with watch(console(), silent=not progress) as show:
        run_experiment(
            begun.config,
            begun.federation,
            begun.directory,
            notify=heard,
            should_stop=should_stop,
        )
    leave_report(begun.directory.path, silent=not progress)
    return Run(begun.directory.path.absolute())


@contextmanager
def _stoppable() -> Iterator[Callable[[], None]]:
    """What raises :class:`KeyboardInterrupt` once Ctrl-C was asked for: between two steps alone.

    Only the main thread hears of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    with interrupt_flag() as flag:

        def check() -> None:
            if flag.is_set():
                raise KeyboardInterrupt

        yield check


def _table(config: Configuration) -> tuple[Table, str]:
    """The nested table, its paths absolute, and where it comes from."""
    if isinstance(config, str | Path):
        return read_table(config), str(config)
    if isinstance(config, RunConfig):
        table = config.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    elif isinstance(config, Mapping):
        table = _with_text_paths(config)
    else:
        raise ConfigError(
            "no configuration",
            where="config",
            got=type(config).__name__,
            expected="a RunConfig, the path of a TOML file, or a table such as {'rounds': 10, ...}",
        )
    return anchor_paths(table, folder=Path.cwd()), "config"


def _with_text_paths(table: Mapping[str, Any]) -> Table:
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
    processes = os.environ.get("WORLD_SIZE") or "1"
    if processes != "1":
        raise ConfigError(
            "a Python call trains in one process",
            got=f"WORLD_SIZE = {processes}",
            fix="torchrun ... -m fedtt train CONFIG (docs/scale.md)",
        )
