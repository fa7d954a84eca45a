"""``fedtt.compare``: methods x settings x seeds, as tables."""

import html
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedtt.cli.compare_command import watch_comparison
from fedtt.cli.console import console
from fedtt.cli.report_command import leave_report
from fedtt.config import check_cells, load_comparison
from fedtt.experiment.comparison import CompareEvent, NotifyCompare, Outcome, run_comparison
from fedtt.experiment.comparison.formats import to_csv
from fedtt.report import write_report
from fedtt.run_place import DEFAULT_PARENT

WORDS = ("setting", "option", "method", "status", "error", "hyper_parameters")  # never numbers


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """What a comparison found; ``directory`` holds it, its runs and its pictures."""

    directory: Path
    outcome: Outcome

    @property
    def cells(self) -> pd.DataFrame:
        """One row a run that counts, as ``results.csv`` has it (docs/compare.md)."""
        text = io.StringIO(to_csv(self.outcome.results))
        return pd.read_csv(
            text, dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values=[""]
        )

    @property
    def table(self) -> pd.DataFrame:
        """One row a setting, option and method: means over the seeds that are done.

        Columns: ``seeds`` of those, ``score`` on the test split and its ``score_sd``,
        ``difference`` to the reference method seed by seed and its ``difference_sd``,
        ``uplink_bytes`` of a client in a round, ``total_bytes`` of the run.
        """
        rows = [
            {
                "setting": group.setting,
                "option": group.option,
                "method": row.method,
                "seeds": row.done,
                "score": None if row.test_score is None else row.test_score.mean,
                "score_sd": None if row.test_score is None else row.test_score.sd,
                "difference": None if row.difference is None else row.difference.mean,
                "difference_sd": None if row.difference is None else row.difference.sd,
                "uplink_bytes": row.uplink_per_client_round,
                "total_bytes": row.total_bytes,
            }
            for group in self.outcome.results.groups
            for row in group.rows
        ]
        return pd.DataFrame(rows).set_index(["setting", "option", "method"])

    @property
    def chosen(self) -> dict[str, dict[str, object]]:
        """The hyper-parameters that the grid chose, by method."""
        return {name: dict(choice.point or {}) for name, choice in self.outcome.choices.items()}

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, one HTML file; where it lies (default: in the directory)."""
        return write_report([self.directory], None if out is None else Path(out))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the tables should know."""
        return self.outcome.notes

    def _repr_html_(self) -> str:
        place = html.escape(str(self.directory))
        return f"<p>fedtt comparison <code>{place}</code></p>{self.table.to_html()}"


def compare(
    config: str | Path,
    *,
    out: str | Path | None = None,
    overrides: str | Iterable[str] = (),
    overwrite: bool = False,
    on_event: NotifyCompare | None = None,
    progress: bool = True,
) -> ComparisonResult:
    """Run what is left of a comparison, as ``fedtt compare`` does; the same call goes on.

    ``config`` is the TOML file; ``out`` where everything goes (default: ``runs/`` and its name).
    Runs that diverge or fail are rows of the result. Raises :class:`~fedtt.errors.FedttError` for a
    comparison that cannot be run, before anything is.
    """
    path = Path(config)
    changes = (overrides,) if isinstance(overrides, str) else tuple(overrides)
    comparison = load_comparison(path, overrides=changes)
    check_cells(comparison)
    directory = DEFAULT_PARENT / path.stem if out is None else Path(out)
    with watch_comparison(console(), silent=not progress) as show:

        def notify(event: CompareEvent) -> None:
            show(event)
            if on_event is not None:
                on_event(event)

        outcome = run_comparison(comparison, directory, notify=notify, overwrite=overwrite)
    leave_report(directory, silent=not progress)
    return ComparisonResult(directory=directory, outcome=outcome)
