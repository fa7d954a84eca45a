"""A comparison: methods x settings x options x seeds under the same rules, cell by cell."""

from fedtt.experiment.comparison.cell_results import CellResult, Status, Validated
from fedtt.experiment.comparison.cell_statistics import (
    Group,
    Reached,
    Results,
    Row,
    Spread,
    row_values,
    summarize_cells,
)
from fedtt.experiment.comparison.choice import Choice, choose
from fedtt.experiment.comparison.comparison_run import (
    CellEnded,
    CellStarted,
    CompareEvent,
    NotifyCompare,
    Outcome,
    run_comparison,
)

__all__ = [
    "CellEnded",
    "CellResult",
    "CellStarted",
    "Choice",
    "CompareEvent",
    "Group",
    "NotifyCompare",
    "Outcome",
    "Reached",
    "Results",
    "Row",
    "Spread",
    "Status",
    "Validated",
    "choose",
    "row_values",
    "run_comparison",
    "summarize_cells",
]
