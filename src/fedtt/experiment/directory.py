"""A run directory: what is in it, and how each file is written so that none is ever half there.

::

    config.toml          the resolved configuration
    data.json            label names, examples a client and split, notes on the data
    state.safetensors    the server's state after the last finished round
    rounds.jsonl         one line a finished round
    baselines.json       the measurements before training and of the clients alone, as they come
    adapter/             the global adapter, a PEFT directory
    summary.json         the result; written last
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtt.config import RunConfig, config_differences, dump_config, load_config
from fedtt.engine.checkpoint import dump_json, load_state, save_state, write_atomically
from fedtt.errors import ConfigError, RunError
from fedtt.federated.types import ServerState
from fedtt.params import Structure

CONFIG = "config.toml"
MARKED = (
    CONFIG,
    "data.json",
    "state.safetensors",
    "rounds.jsonl",
    "baselines.json",
    "summary.json",
)


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """A run directory that exists."""

    path: Path

    @property
    def state_path(self) -> Path:
        """Where the server's state lies."""
        return self.path / "state.safetensors"

    @property
    def adapter_path(self) -> Path:
        """The PEFT directory of the global adapter."""
        return self.path / "adapter"

    def config(self) -> RunConfig:
        """The configuration that the run was started with."""
        return load_config(self.path / CONFIG)

    def save_state(self, state: ServerState) -> None:
        """Replace the saved state."""
        save_state(self.state_path, state)

    def load_state(self, *, expected: Structure) -> ServerState:
        """The state after the last finished round. Raises :class:`RunError`."""
        return load_state(self.state_path, expected=expected)

    def save_data(self, description: dict[str, Any]) -> None:
        """Write what the run knows of its data, texts excepted."""
        write_atomically(self.path / "data.json", dump_json(description))

    def label_names(self) -> list[str]:
        """Names of the classes, in the order of the model's outputs."""
        names: list[str] = self._read("data.json")["label_names"]
        return names

    def append_round(self, record: dict[str, Any]) -> None:
        """Add one line to ``rounds.jsonl``."""
        with (self.path / "rounds.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def rounds(self) -> list[dict[str, Any]]:
        """The records so far; a last line that a crash cut short is left out."""
        path = self.path / "rounds.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def forget_rounds_from(self, next_round: int) -> list[dict[str, Any]]:
        """Drop records of rounds that the saved state does not include; the records that stay."""
        kept = [record for record in self.rounds() if record["round"] < next_round]
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
        write_atomically(self.path / "rounds.jsonl", lines.encode())
        return kept

    def baselines(self) -> dict[str, Any]:
        """What was measured besides the rounds; empty at first."""
        return self._read("baselines.json") if (self.path / "baselines.json").exists() else {}

    def save_baselines(self, baselines: dict[str, Any]) -> None:
        """Replace the measurements."""
        write_atomically(self.path / "baselines.json", dump_json(baselines))

    def save_summary(self, summary: dict[str, Any]) -> None:
        """Write the result."""
        write_atomically(self.path / "summary.json", dump_json(summary))

    def save_adapter(self, save: Callable[[Path], None]) -> None:
        """Replace ``adapter/`` by what ``save`` writes into the directory it is given."""
        beside, old = self.path / ".adapter.new", self.path / ".adapter.old"
        for leftover in (beside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        save(beside)
        if self.adapter_path.exists():
            self.adapter_path.rename(old)
        beside.rename(self.adapter_path)
        shutil.rmtree(old, ignore_errors=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                "a file of the run cannot be read",
                where=str(self.path / name),
                got=error,
                fix="start a new run with another --run directory",
            ) from error
        return content


def check_new_run(path: Path, *, overwrite: bool) -> None:
    """Raise :class:`RunError` unless a run can be created at ``path``; changes nothing.

    With ``overwrite`` an earlier run may stand there; anything else in the way is refused.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        is_run = (path / CONFIG).is_file()
        if not (overwrite and is_run):
            raise RunError(
                "there is a run already" if is_run else "the run directory is not empty",
                where=str(path),
                fix=f"--resume {path} goes on with it, --overwrite deletes it, --run takes another"
                if is_run
                else "give a new directory with --run",
            )
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise _uncreatable(path, f"{nearest} cannot be written")


def create_run(path: Path, config: RunConfig, *, overwrite: bool) -> RunDirectory:
    """A new run directory that holds the config. Raises like :func:`check_new_run`.

    With ``overwrite`` the files of an earlier run at that path are deleted, and only those.
    """
    check_new_run(path, overwrite=overwrite)
    try:
        for name in MARKED:
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path / "adapter", ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _uncreatable(path, error.strerror or error) from error
    write_atomically(path / CONFIG, dump_config(config).encode())
    return RunDirectory(path=path)


def open_run(path: Path) -> RunDirectory:
    """An existing run directory. Raises :class:`RunError` if there is none at ``path``."""
    if not (path / CONFIG).is_file():
        raise RunError(
            "no run here",
            where=str(path),
            got="no config.toml in it" if path.is_dir() else "no such directory",
            fix="give a directory that fedtt train made",
        )
    return RunDirectory(path=path)


def check_same_config(saved: RunConfig, given: RunConfig, *, where: Path) -> None:
    """Raise :class:`ConfigError`, showing the difference, unless both configs are the same."""
    differences = config_differences(saved, given)
    if differences:
        raise ConfigError(
            "a run cannot be resumed with another configuration:\n"
            + "\n".join(f"  - {line}" for line in differences),
            where=str(where),
            fix="resume without CONFIG and --set to go on as before, or start a new run",
        )


def _uncreatable(path: Path, reason: object) -> RunError:
    return RunError(
        "cannot create the run directory",
        where=str(path),
        got=reason,
        fix="give a writable place with --run DIR",
    )
