"""A run directory: what is in it, and how each file is written so that none is ever half there.

::

    config.toml          the resolved configuration; its first line marks the directory as a run
    data.json            label names, examples a client, split and label, notes, digests of the data
    state.safetensors    the server's state after the last finished round
    rounds.jsonl         one line a finished round
    clients/             the clients' optimizers beside that state, where they are kept
    attackers/           what simulated attackers remember beside that state, where they do
    baselines.json       the measurements before training and of the clients alone, as they come
    adapter/             the global adapter, a PEFT directory; written with every state
    summary.json         the result; written last
    track/               what trackers write, where there are any; see ``trackers``
    report.html          a picture of all this; see ``fedtt.report``
    secret               what nobody else may know of the run; see ``run_secret``
    .lock                held by the process that runs the run
"""

import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from safetensors import SafetensorError

from fedtt.atomic_write import append_to_file, open_to_all
from fedtt.checksums import write_checksums
from fedtt.config import RunConfig, config_differences, dump_config, load_config
from fedtt.config.overrides import flatten
from fedtt.config.parse import read_table
from fedtt.engine.checkpoint import (
    dump_json,
    is_unchecked,
    load_residuals,
    load_state,
    save_state,
    saved_config,
    write_atomically,
)
from fedtt.engine.client_state import FIRST_UPDATES
from fedtt.engine.client_state import FOLDER as CLIENTS
from fedtt.errors import ConfigError, RunError
from fedtt.experiment.lock import locked
from fedtt.experiment.measure import Metrics
from fedtt.experiment.round_tail import count_records, is_whole, read_rounds
from fedtt.experiment.run_files import (
    BaselinesContent,
    DataContent,
    Record,
    SummaryContent,
    check_content,
    damaged_file,
    read_record,
)
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.experiment.run_secret import run_id, run_secret
from fedtt.federated.types import ServerState
from fedtt.params import Params, Structure
from fedtt.run_place import (
    CONFIG,
    MARKER,
    REPORT,
    ROUNDS,
    STATE,
    TRACK,
    check_new_run,
    check_run,
    state_header,
    uncreatable,
)
from fedtt.strict_json import parse_json

PLACES = frozenset({"model.name", "data.path", "data.test_path", "data.directory"})
LATER = (
    "data.json",
    STATE,
    ROUNDS,
    "baselines.json",
    "summary.json",
    REPORT,
    SECRET,
)


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """A run directory that exists."""

    path: Path

    @property
    def state_path(self) -> Path:
        """Where the server's state lies."""
        return self.path / STATE

    @property
    def adapter_path(self) -> Path:
        """The PEFT directory of the global adapter."""
        return self.path / "adapter"

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from running this run. Raises :class:`RunError`; see ``lock``."""
        return locked(self.path)

    def config(self) -> RunConfig:
        """The configuration that the run was started with."""
        return load_config(self.path / CONFIG)

    @property
    def secret_path(self) -> Path:
        """Where the run's secret lies."""
        return self.path / SECRET

    @property
    def has_secret(self) -> bool:
        """Whether one was drawn, and is still there."""
        return self.secret_path.exists()

    def secret(self) -> bytes:
        """The run's secret, drawn at the first call. Raises :class:`RunError`."""
        return run_secret(self.path)

    def run_id(self) -> str:
        """What tells this run from every other one, of the same configuration too."""
        return run_id(self.path)

    def save_state(
        self, state: ServerState, *, residuals: Mapping[str, Params] | None = None
    ) -> None:
        """Replace the saved state, and what the clients owe after it."""
        # The configuration of a run is that of its first state, whatever became of the file since.
        config = saved_config(self.state_path) or _settings(self.path / CONFIG)
        save_state(self.state_path, state, config=config, residuals=residuals)

    def load_state(self, *, expected: Structure) -> ServerState:
        """The state after the last finished round. Raises :class:`RunError`."""
        state, rounds = load_state(self.state_path, expected=expected), self.config().rounds
        if state.next_round > rounds:
            raise self._damaged(STATE, f"a state after {state.next_round} of {rounds} rounds")
        return state

    def load_residuals(self, *, expected: Structure) -> dict[str, Params]:
        """What the clients owe after the saved state, by client. Raises :class:`RunError`."""
        return load_residuals(self.state_path, expected=expected)

    def notes(self) -> tuple[str, ...]:
        """What is to be said of the saved state."""
        if not is_unchecked(self.state_path):
            return ()
        return (
            f"{STATE} was written by an earlier fedtt: it has no checksum, and does not say which "
            "configuration it was made with; what fedtt train --resume saves does.",
        )

    def save_data(self, description: dict[str, Any]) -> None:
        """Write what the run knows of its data, texts excepted."""
        write_atomically(self.path / "data.json", dump_json(description))

    def data(self) -> dict[str, Any] | None:
        """What :meth:`save_data` wrote; None before. Raises :class:`RunError`."""
        if not (self.path / "data.json").exists():
            return None
        return self._read("data.json", DataContent)

    def label_names(self) -> list[str]:
        """Names of the classes, in the order of the model's outputs. Raises :class:`RunError`."""
        data = self.data()
        if data is None:
            raise self._damaged("data.json", "no such file")
        names: list[str] = data["label_names"]
        return names

    def append_round(self, record: Record) -> None:
        """Add one line to ``rounds.jsonl``, for good. Raises :class:`RunError`."""
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.path / ROUNDS
        try:
            append_to_file(path, line.encode())
        except OSError as error:
            raise RunError("cannot write a file of the run", where=str(path), got=error) from error

    def rounds(self) -> list[Record]:
        """The records so far; a last line that a crash cut short is left out.

        Raises :class:`RunError` for a line that is not the record of its round.
        """
        return list(read_rounds(self.path))

    def forget_rounds_from(self, next_round: int) -> list[Record]:
        """Drop records of rounds that the saved state does not include; the records that stay.

        Raises :class:`RunError`, and changes nothing, unless those are all of the rounds before.
        """
        lines = self._round_lines()[:next_round]
        kept = list(itertools.islice(read_rounds(self.path), next_round))
        _check_enough_records(self.path, len(kept), next_round=next_round)
        write_atomically(self.path / ROUNDS, "".join(f"{line}\n" for line in lines).encode())
        return kept

    def add_validation(self, round_index: int, validation: Metrics) -> None:
        """Put a measurement that came later into the record of its round."""
        lines = self._round_lines()
        record = {**read_record(lines[round_index], index=round_index), "validation": validation}
        lines[round_index] = json.dumps(record, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path / ROUNDS, "".join(f"{line}\n" for line in lines).encode())

    def baselines(self) -> dict[str, Any]:
        """What was measured besides the rounds; empty at first. Raises :class:`RunError`."""
        if not (self.path / "baselines.json").exists():
            return {}
        return self._read("baselines.json", BaselinesContent)

    def save_baselines(self, baselines: dict[str, Any]) -> None:
        """Replace the measurements."""
        write_atomically(self.path / "baselines.json", dump_json(baselines))

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write the result."""
        write_atomically(self.path / "summary.json", dump_json(summary))

    def summary(self) -> dict[str, Any] | None:
        """The result; None before there is one. Raises :class:`RunError`."""
        return (
            self._read("summary.json", SummaryContent)
            if (self.path / "summary.json").exists()
            else None
        )

    def save_adapter(self, save: Callable[[Path], None]) -> None:
        """Replace ``adapter/`` by what ``save`` writes into the directory it is given."""
        beside, old = self.path / ".adapter.new", self.path / ".adapter.old"
        try:
            for leftover in (beside, old):
                shutil.rmtree(leftover, ignore_errors=True)
            save(beside)
            open_to_all(beside)
            write_checksums(beside)
            if self.adapter_path.exists():
                self.adapter_path.rename(old)
            beside.rename(self.adapter_path)
        except (OSError, SafetensorError) as error:
            raise RunError(
                "cannot write the adapter", where=str(self.adapter_path), got=error
            ) from error
        finally:
            if old.exists() and not self.adapter_path.exists():  # interrupted between the two
                old.rename(self.adapter_path)
            for leftover in (beside, old):
                shutil.rmtree(leftover, ignore_errors=True)

    def _round_lines(self) -> list[str]:
        path = self.path / ROUNDS
        if not path.exists():
            return []
        try:
            *complete, last = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise self._damaged(path.name, error) from error
        return [*complete, last] if is_whole(last.encode()) else complete

    def _read(self, name: str, kind: type[BaseModel]) -> dict[str, Any]:
        try:
            text = (self.path / name).read_text(encoding="utf-8")
            return check_content(parse_json(text), kind)
        except (OSError, ValueError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, got: object) -> RunError:
        return damaged_file(self.path / name, got)


def create_run(path: Path, config: RunConfig, *, overwrite: bool) -> RunDirectory:
    """A new run directory that holds the config. Raises like :func:`check_new_run`.

    With ``overwrite`` the files of an earlier run at that path are deleted, and only those.
    """
    check_new_run(path, overwrite=overwrite)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise uncreatable(path, error.strerror or error) from error
    return _fill(path, config, overwrite=overwrite)


def create_named_run(parent: Path, name: str, config: RunConfig) -> RunDirectory:
    """A run directory of that name in ``parent``, or of ``name-2``, ``name-3``, ... if it is taken.

    Whoever makes a directory has it: runs that start in the same moment get one each.
    """
    for number in itertools.count(1):
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if parent.is_dir():
                continue
            raise uncreatable(path, f"{parent} is not a directory") from None
        except OSError as error:
            raise uncreatable(path, error.strerror or error) from error
        break
    return _fill(path, config, overwrite=False)


def _fill(path: Path, config: RunConfig, *, overwrite: bool) -> RunDirectory:
    with locked(path):
        check_new_run(path, overwrite=overwrite)  # somebody may have been faster
        try:
            # The config, which marks a run, stays until the new one replaces it: what a crash
            # leaves here must still be known as a run.
            for name in LATER:
                (path / name).unlink(missing_ok=True)
            for folder in ("adapter", CLIENTS, FIRST_UPDATES, TRACK):
                shutil.rmtree(path / folder, ignore_errors=True)
        except OSError as error:
            raise uncreatable(path, error.strerror or error) from error
        write_atomically(path / CONFIG, (MARKER + dump_config(config)).encode())
    return RunDirectory(path=path)


def open_run(path: Path) -> RunDirectory:
    """An existing run directory.

    Raises :class:`RunError` if there is none at ``path``, or one whose configuration or records are
    not those of its state.
    """
    check_run(path)
    _check_config_kept(path)
    # The state before the records: of a run that goes on, they are ahead of it, and never behind.
    saved = state_header(path / STATE).get("next_round")
    if isinstance(saved, int):
        _check_enough_records(path, count_records(path), next_round=saved)
    return RunDirectory(path=path)


def _check_enough_records(path: Path, count: int, *, next_round: int) -> None:
    """Raise :class:`RunError` where there are fewer than rounds that the state includes."""
    if count < next_round:
        got = f"records of {count} rounds, and a state after {next_round}"
        raise damaged_file(path / ROUNDS, got)


def _check_config_kept(path: Path) -> None:
    """Raise :class:`RunError` where ``config.toml`` is not what the run's state was made with."""
    saved, now = saved_config(path / STATE), _settings(path / CONFIG)
    if saved is None or now is None:
        return
    changed = [key for key in sorted({*saved, *now}) if saved.get(key) != now.get(key)]
    if changed:
        lines = [f"  - {key}: {saved.get(key)!r} -> {now.get(key)!r}" for key in changed]
        raise RunError(
            "the configuration of the run was changed since it began:\n" + "\n".join(lines),
            where=str(path / CONFIG),
            fix="put the old values back; or start a new run with the new ones",
        )


def _settings(path: Path) -> dict[str, Any] | None:
    """Dotted key -> value, as the file says it, without the places of files: their contents have
    digests of their own. None for a file that cannot be read.
    """
    try:
        table = read_table(path)
    except ConfigError:
        return None
    flat = json.loads(json.dumps(flatten(table), default=str))
    return {key: value for key, value in flat.items() if key not in PLACES}


def check_same_config(saved: RunConfig, given: RunConfig, *, where: Path) -> None:
    """Raise :class:`ConfigError`, showing the difference, unless both configs are the same."""
    differences = config_differences(saved, given)
    if differences:
        raise ConfigError(
            "a run cannot be resumed with another configuration:\n"
            + "\n".join(f"  - {line}" for line in differences),
            where=str(where),
            fix="resume without CONFIG and --set to go on as before; what is to be different, more "
            "rounds too, takes a new run, from its first round",
        )
