"""Whether a run lies at a place, or can be made there; known without torch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fedtt.errors import RunError
from fedtt.strict_json import parse_json

DEFAULT_PARENT = Path("runs")  # of runs that are given no place
CONFIG = "config.toml"
STATE = "state.safetensors"
ROUNDS = "rounds.jsonl"
LOCK = ".lock"
TRACK = "track"  # of what trackers write, a folder each
REPORT = "report.html"
MARKER = "# The configuration of a fedtt run, complete; this line marks the directory as one.\n"


def check_run(path: Path) -> None:
    """Raise :class:`RunError` unless ``path`` is a directory that a run made."""
    if not is_run(path):
        got = "a config.toml that train did not write" if (path / CONFIG).is_file() else None
        raise RunError(
            "no run here",
            where=str(path),
            got=got or ("no config.toml in it" if path.is_dir() else _no_directory(path)),
            fix="give a directory that fedtt train made",
        )


def check_new_run(path: Path, *, overwrite: bool) -> None:
    """Raise :class:`RunError` unless a run can be created at ``path``; changes nothing.

    With ``overwrite`` an earlier run may stand there; anything else in the way is refused.
    """
    if path.exists() and not path.is_dir():
        raise RunError(
            "the run directory is no directory",
            where=str(path),
            got=_no_directory(path),
            fix="give a new directory with --run",
        )
    if path.exists() and any(entry.name != LOCK for entry in path.iterdir()):
        here = is_run(path)
        if not (overwrite and here):
            raise RunError(
                "there is a run already" if here else "the run directory is not empty",
                where=str(path),
                fix=f"--resume {path} goes on with it, --overwrite deletes it, --run takes another"
                if here
                else "give a new directory with --run",
            )
    check_creatable(path)


def check_creatable(path: Path) -> None:
    """Raise :class:`RunError` unless a directory can be made, or written, at ``path``."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise uncreatable(path, f"{nearest} cannot be written")


def uncreatable(path: Path, reason: object) -> RunError:
    """The error for a place where no run can be made."""
    return RunError(
        "cannot create the run directory",
        where=str(path),
        got=reason,
        fix="give a writable place with --run DIR",
    )


def is_run(path: Path) -> bool:
    """Whether train made the directory: its config says so or, without a marker, its state."""
    try:
        with (path / CONFIG).open(encoding="utf-8-sig", errors="replace") as file:
            marked = file.readline() == MARKER
    except OSError:
        return False
    return marked or is_state(path / STATE)


def is_state(path: Path) -> bool:
    """Whether a state of ours, of any version, lies there; looks at the header only."""
    return str(state_header(path).get("format")).startswith("fedtt-state-")


def state_header(path: Path) -> dict[str, Any]:
    """What the file says of itself, if it is a state; nothing where it cannot be read as one."""
    try:
        with safe_open(path, framework="np") as file:
            return parse_header(file.metadata())
    except (OSError, SafetensorError, RuntimeError, ValueError):
        return {}


def parse_header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """What a state says of itself. Raises ``ValueError`` for what is no such header."""
    header = parse_json((metadata or {}).get("fedtt", "{}"))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table")
    return header


def _no_directory(path: Path) -> str:
    return "a file" if path.exists() else "no such directory"
