"""``report.html``: of a run, of several, of a comparison."""

from collections.abc import Sequence
from pathlib import Path

from fedtt.atomic_write import replace_file
from fedtt.errors import FedttError, RunError
from fedtt.experiment.comparison.read_comparison import is_comparison
from fedtt.report.blocks import Page
from fedtt.report.comparison_page import page_of_comparison
from fedtt.report.pages import page_of_views
from fedtt.report.render import MARKER, render
from fedtt.report.run_view import RunView, view_run
from fedtt.run_place import REPORT, is_run


def write_report(places: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of a run, of several runs, or of one comparison; where it lies.

    That is ``out``, or the directory of the run or comparison; of several runs, where they all lie.
    A directory of runs stands for those in it. Raises :class:`RunError` for what is neither,
    :class:`~fedtt.report.drawing_code.MissingReportError` without the extra.
    """
    page, home = _page(places)
    path = out or home / REPORT
    _check_free(path)
    text = render(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    except OSError as error:
        raise RunError("cannot write the report", where=str(path), got=error) from error
    return path


def _page(places: Sequence[Path]) -> tuple[Page, Path]:
    if len(places) == 1 and is_comparison(places[0]):
        return page_of_comparison(places[0]), places[0]
    for place in places:
        if is_comparison(place):
            raise RunError("a comparison has a report of its own", where=str(place))
    if not places:
        raise RunError("no run to report on", fix="give the directory of a run")
    runs: list[RunView] = []
    notes: list[str] = []
    for place in dict.fromkeys(place.resolve() for place in places):
        found, damaged = _runs_at(place)
        runs, notes = [*runs, *found], [*notes, *damaged]
    home = places[0] if len(places) == 1 else Path()
    return page_of_views(runs, notes), home


def _runs_at(place: Path) -> tuple[list[RunView], list[str]]:
    """The run there, or those in the directory, and what is to be said of those left out."""
    if is_run(place) or not place.is_dir():
        return [view_run(place)], []
    found: list[RunView] = []
    damaged: list[FedttError] = []
    for path in sorted(path for path in place.iterdir() if is_run(path)):
        try:
            found.append(view_run(path))
        except FedttError as error:
            damaged.append(error)
    if damaged and not found:
        raise damaged[0]
    if not found:
        raise RunError(
            "no run here",
            where=str(place),
            fix="give directories that fedtt train made, or one of fedtt compare",
        )
    return found, [f"A run is left out: {' '.join(str(error).split())}" for error in damaged]


def _check_free(path: Path) -> None:
    """Raise :class:`RunError` where something lies that is no report."""
    try:
        with path.open("rb") as file:
            start = file.read(len(MARKER))
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError("cannot write the report", where=str(path), got=error) from error
    if start != MARKER.encode():
        raise RunError(
            "a file that is no report lies there", where=str(path), fix="give another with --out"
        )
