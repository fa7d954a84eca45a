"""What there is to know of a format that a run's model is exported in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.opened_run import OpenedRun


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """``write`` puts the model's files into a directory, and says what it checked of them.

    ``check`` raises for packages that are missing. ``library`` is what the card says the files are
    for, and ``loading`` the Python that loads them, with ``{auto}`` for transformers' class and
    ``{base}`` for the base model.
    """

    library: str
    loading: str
    write: Callable[[OpenedRun, RunDirectory, Path], list[str]]
    check: Callable[[], None] = _nothing
