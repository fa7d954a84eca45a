"""What train and serve share: what was asked for, the run it makes or takes up, its result."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtt.cli.console import console, print_json
from fedtt.cli.interrupt import stop_if_asked
from fedtt.cli.report_command import leave_report
from fedtt.cli.terminal_tables import print_result
from fedtt.config import RunConfig, load_config
from fedtt.config.parse import files_of
from fedtt.errors import ConfigError
from fedtt.model_place import check_model_place
from fedtt.run_place import DEFAULT_PARENT, check_creatable, check_new_run, check_run

if TYPE_CHECKING:
    from fedtt.experiment.begun_run import BegunRun, Build


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run as it was asked for: new, of a configuration, or an earlier one, to go on with."""

    verb: str
    config_path: Path | None
    overrides: list[str]
    run: Path | None
    resume: Path | None
    overwrite: bool

    def config(self) -> RunConfig | None:
        """The configuration that was given.

        Raises :class:`FedttError` for it, for options that do not go together, and where its model
        or the run is not there, or the run's place is taken: all before torch is loaded.
        """
        given = None
        if self.config_path is not None:
            given = load_config(self.config_path, overrides=self.overrides)
        self._check()
        if self.config_path is not None and self.run is not None and self.overwrite:
            check_apart(self.config_path, self.run)
        if self.resume is not None:
            check_run(self.resume)
        elif not _is_helper():
            _check_place(self)
        if given is not None:
            check_model_place(given.model.name)
        return given

    def _check(self) -> None:
        if self.config_path is None and self.resume is None:
            raise ConfigError(
                f"nothing to {self.verb}",
                expected="a configuration file, a preset's name, or --resume RUN",
                fix="fedtt train silos, or a file that fedtt init writes",
            )
        if self.config_path is None and self.overrides:
            raise ConfigError(
                "--set changes a CONFIG, and none is given",
                got=", ".join(self.overrides),
                fix="leave --set out: a run goes on as it began, for as many rounds; anything else "
                f"is a new run, from its first round: fedtt {self.verb} CONFIG --set ...",
            )
        if self.resume is not None and (self.run is not None or self.overwrite):
            raise ConfigError(
                "--resume goes on in the run's own directory", fix="leave --run and --overwrite out"
            )


@dataclass(frozen=True, kw_only=True)
class Output:
    """How much a command says."""

    quiet: bool
    as_json: bool

    @property
    def silent(self) -> bool:
        """Whether nothing is said before the result."""
        return self.quiet or self.as_json


def begin(
    asked: Asked,
    given: RunConfig | None,
    build: "Build",
    *,
    stop: threading.Event,
) -> "BegunRun":
    """Take up the run to resume, or make the new one, once its federation could be built.

    ``given`` is what ``asked.config()`` gave. Nothing is written before ``build`` has succeeded.
    """
    from fedtt.experiment import begin_new, take_up_run

    if asked.resume is not None:
        begun = take_up_run(asked.resume, build, given=given)
        stop_if_asked(stop, fix=f"fedtt {asked.verb} --resume {asked.resume} goes on")
        return begun
    if given is None:
        raise AssertionError("checked by Asked.config")
    return begin_new(
        given,
        build,
        place=asked.run,
        overwrite=asked.overwrite,
        before_writing=lambda: stop_if_asked(stop, fix="start again; nothing was written"),
    )


def show_result(summary: dict[str, Any], path: Path, output: Output) -> None:
    """On stdout, as asked for; the report lies beside."""
    if output.as_json:
        print_json(summary)
    elif not output.quiet:
        print_result(summary, path=path)
    leave_report(path, silent=output.silent)


@contextmanager
def loading(*, silent: bool) -> Iterator[None]:
    """A live line, on a terminal, while the block imports what takes seconds."""
    out = console()
    if silent or not out.is_terminal:
        yield
    else:
        with out.status("loading torch and transformers ..."):
            yield


def check_apart(config_path: Path, run: Path) -> None:
    """Overwriting the run must not delete the configuration."""
    held = [path for path in files_of(config_path) if run.resolve() in path.resolve().parents]
    if held:
        raise ConfigError(
            "the run directory holds the configuration that is given, or what it extends",
            where=f"--run {run} --overwrite",
            got=held[0],
            fix="give another directory with --run, or move the configuration out of it",
        )


def _is_helper() -> bool:
    """Whether torchrun started this process beside one that leads, and makes the directory."""
    return os.environ.get("RANK", "0") != "0"


def _check_place(asked: Asked) -> None:
    if asked.run is None:
        check_creatable(DEFAULT_PARENT)
    else:
        check_new_run(asked.run, overwrite=asked.overwrite)
