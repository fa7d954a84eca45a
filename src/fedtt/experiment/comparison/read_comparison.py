"""A comparison as far as it has come, read from its directory; nothing runs, nothing is written."""

from dataclasses import dataclass
from pathlib import Path

from fedtt.config import Comparison, load_comparison
from fedtt.errors import RunError
from fedtt.experiment.comparison.cell_statistics import Results
from fedtt.experiment.comparison.choice import Choice
from fedtt.experiment.comparison.comparison_run import results_so_far
from fedtt.experiment.comparison.layout import MARKER


@dataclass(frozen=True, kw_only=True)
class SavedComparison:
    """What lies in a comparison's directory."""

    comparison: Comparison
    results: Results
    choices: dict[str, Choice]


def is_comparison(path: Path) -> bool:
    """Whether a comparison's file lies there."""
    return (path / MARKER).is_file()


def read_comparison(path: Path) -> SavedComparison:
    """Its results and choices. Raises :class:`RunError` for no comparison, or a damaged file."""
    if not is_comparison(path):
        raise RunError(
            "no comparison here",
            where=str(path),
            got=f"no {MARKER} in it",
            fix="give a directory that fedtt compare made",
        )
    comparison = load_comparison(path / MARKER)
    results, choices = results_so_far(comparison, path)
    return SavedComparison(comparison=comparison, results=results, choices=choices)
