"""What Python calls: a run, a comparison, a cost, as values and pandas tables.

``import fedtt`` offers all of it and loads this package when one of its names is first used.
"""

from fedtt.api.comparing import ComparisonResult, compare
from fedtt.api.costs import cost
from fedtt.api.saved_run import Run, load_runs, open_run
from fedtt.api.training import resume, train

__all__ = [
    "ComparisonResult",
    "Run",
    "compare",
    "cost",
    "load_runs",
    "open_run",
    "resume",
    "train",
]
