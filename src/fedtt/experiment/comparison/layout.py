"""The directory of a comparison.

::

    compare.toml                                       the comparison; marks the directory as one
    tuning/<method>/<point>/                           a run directory a grid point
    choices.json                                       every candidate's score, and the choice
    cells/<setting>/<option>/<method>/seed<k>/         a run directory a cell
    results.csv  results.md  results.tex  curves.png  curves.svg  frontier.png  frontier.svg
    report.html                                        a picture of all this; see ``fedtt.report``
    .locks/                                            who runs what, of several processes
"""

import hashlib
import re
from pathlib import Path

from fedtt.config import Cell, Comparison, dump_comparison
from fedtt.config.compare import Point
from fedtt.engine.checkpoint import write_atomically
from fedtt.errors import RunError
from fedtt.run_place import check_new_run

MARKER = "compare.toml"
CHOICES = "choices.json"
FAILURE = "failure.json"  # in a run directory: how the run ended, where it has no summary


def claim(out: Path, comparison: Comparison) -> None:
    """Make ``out`` the comparison's directory, new or its own of an earlier call.

    Raises :class:`RunError` for a directory that holds anything else, or cannot be written.
    """
    if not (out / MARKER).is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(
                "the directory is not empty and holds no comparison",
                where=str(out),
                fix="give a new directory with --out",
            )
        check_new_run(out, overwrite=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("cannot create the directory", where=str(out), got=error) from error
    write_atomically(out / MARKER, dump_comparison(comparison).encode())


def lock_path(out: Path, run: Path) -> Path:
    """The directory, which it makes, whose lock a process holds while it runs ``run``."""
    name = hashlib.sha256(str(run.relative_to(out)).encode()).hexdigest()[:16]
    path = out / ".locks" / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError("cannot create the directory", where=str(path), got=error) from error
    return path


def cell_path(out: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return out / "cells" / cell.setting / cell.option / cell.method / f"seed{cell.seed}"


def tuning_path(out: Path, *, method: str, point: Point) -> Path:
    """The run directory of a grid point; named by its values, so that a grid can grow."""
    return out / "tuning" / method / point_name(point)


def point_name(point: Point) -> str:
    """``learning_rate=0.005,rank=8``, safe as a directory; a digest tells apart what is not."""
    text = ",".join(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in point.items())
    if re.fullmatch(r"[A-Za-z0-9_=.,+-]{1,100}", text):
        return text
    safe = re.sub(r"[^A-Za-z0-9_=.,+-]+", "-", text)[:80]
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
