"""Runs as rows: what each is, how far it came, what it reached and what it sent."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedtt.errors import FedttError, RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.lock import locked_if_free
from fedtt.experiment.run_files import Record
from fedtt.metrics import MEAN
from fedtt.run_place import CONFIG, LOCK, ROUNDS, STATE, is_run

MEASURED = ("test", "before", "alone")
SUMS = ("uplink_bytes", "downlink_bytes", "seconds")


def rows_at(place: Path, *, deep: bool = False) -> Iterator[dict[str, Any]]:
    """The run at ``place``, or those that lie in that directory; ``deep``: those below, too.

    One that was found there and cannot be read has the state "unreadable" and a ``problem``.
    Raises :class:`RunError` for a place that is neither a run nor a directory.
    """
    if is_run(place) or not place.is_dir():
        yield run_row(place)
        return
    for path in _runs_in(place, deep=deep):
        try:
            yield run_row(path)
        except FedttError as error:
            yield {"run": str(path.absolute()), "state": "unreadable", "problem": str(error)}


def run_row(path: Path) -> dict[str, Any]:
    """The run at that path. Raises :class:`FedttError` for one that cannot be read."""
    directory = open_run(path)
    config, records, summary = directory.config(), directory.rounds(), directory.summary()
    return {
        "run": str(path.absolute()),
        "state": run_state(path, ended=summary is not None),
        "model": config.model.name,
        "method": config.method.name,
        "seed": config.seed,
        "rounds": len(records),
        "of_rounds": config.rounds,
        "changed": _changed(path),
        "score": ((summary or {}).get("score") or {}).get("name"),
        **{
            f"{what}_{metric}": values[MEAN]
            for what in MEASURED
            for metric, values in ((summary or {}).get(what) or {}).items()
        },
        **{key: sum(record[key] for record in records) for key in SUMS},
        **spent(records[-1] if records else {}),
    }


def spent(record: Mapping[str, Any]) -> Record:
    """The epsilons so far, as a record of a round has them; of what nobody promised, none."""
    of_clients, of_examples = record.get("privacy") or {}, record.get("example_privacy") or {}
    return {
        **({"epsilon": of_clients["epsilon"]} if of_clients else {}),
        **({"example_epsilon": of_examples["epsilon"]} if of_examples else {}),
    }


def _runs_in(place: Path, *, deep: bool) -> Iterator[Path]:
    """Without following links, which may lead in circles."""
    try:
        inside = sorted(place.iterdir())
    except OSError as error:
        raise RunError("the directory cannot be read", where=str(place), got=error) from error
    for path in inside:
        if is_run(path):
            yield path
        elif deep and path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from _runs_in(path, deep=True)


def run_state(path: Path, *, ended: bool) -> str:
    """``running``, ``stopped`` or ``finished``: whether a process holds it, or it has a result."""
    if (path / LOCK).exists():
        try:
            with locked_if_free(path) as free:
                if not free:
                    return "running"
        except RunError:  # a place that cannot be written: nobody runs a run there
            pass
    return "finished" if ended else "stopped"


def _changed(path: Path) -> str:
    """When, to the second. Raises :class:`RunError` where no file is left."""
    written = last_written(path)
    if not written:
        raise RunError("the run is gone", where=str(path), got="no file of a run")
    return datetime.fromtimestamp(written, tz=UTC).isoformat(timespec="seconds")


def last_written(path: Path) -> float:
    """When a file of the run was written last, as a timestamp."""
    names = (CONFIG, STATE, ROUNDS, "summary.json")
    times = [0.0]
    for name in names:
        with suppress(OSError):  # not there, or deleted just now by --overwrite
            times.append((path / name).stat().st_mtime)
    return max(times)
