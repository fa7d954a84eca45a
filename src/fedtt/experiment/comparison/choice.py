"""The choice of hyper-parameters: on validation data, from grids of equal size, on record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtt.config import Cell
from fedtt.config.compare import Point
from fedtt.experiment.comparison.cell_results import CellResult, Status
from fedtt.experiment.comparison.grid_edges import edges

RULE = (
    "best validation score after the last round, of the runs whose model does not give every "
    "example the same answer; among equals fewer bytes, then the first in the grid; the test "
    "split was not looked at"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method's hyper-parameters; ``point`` is ``None`` if no candidate is fit to be chosen.

    ``candidates`` is empty where there was nothing to choose; the last ``widened`` of them lie
    beyond the grid as it was written.
    """

    point: Point | None
    cell: Cell
    candidates: tuple[CellResult, ...]
    widened: int = 0

    @property
    def edges(self) -> Mapping[str, str]:
        """Key -> ``lowest`` or ``highest``: which chosen values have none tried beyond them."""
        tried = [
            c.point for c in self.candidates if c.status not in (Status.MISSING, Status.FAILED)
        ]
        return edges(self.point, tried) if self.point is not None and tried else {}

    @property
    def all_collapsed(self) -> bool:
        """Whether nothing was chosen since no run of the grid tells examples apart."""
        outcomes = {c.status if not c.collapsed else Status.COLLAPSED for c in self.candidates}
        return Status.COLLAPSED in outcomes <= {Status.COLLAPSED, Status.DIVERGED}

    def describe(self) -> str:
        """The chosen values, and which of them are the outermost that were tried."""
        if self.all_collapsed:
            return "none: every run of the grid gives all examples the same answer, or diverged"
        notes = self.edges
        return ", ".join(
            f"{key} = {value}" + (f" (the {notes[key]} tried)" if key in notes else "")
            for key, value in (self.point or {}).items()
        )

    def without_run(self, cell: Cell) -> CellResult:
        """The outcome of a cell that cannot run for want of hyper-parameters, and why."""
        if self.all_collapsed:
            error = f"no choice of hyper-parameters: {self.describe()}"
            return CellResult(cell=cell, point={}, status=Status.COLLAPSED, error=error)
        for status in (Status.MISSING, Status.FAILED, Status.DIVERGED):
            if any(candidate.status is status for candidate in self.candidates):
                break
        error = f"no choice of hyper-parameters: a run of the grid is {status}"
        error = "" if status is Status.MISSING else error
        return CellResult(cell=cell, point={}, status=status, error=error)

    def record(self) -> dict[str, Any]:
        """As ``choices.json`` has it, every candidate with its score."""
        return {
            "chosen": self.point,
            "at_the_edge": dict(self.edges),
            "setting": self.cell.setting,
            "option": self.cell.option,
            "seed": self.cell.seed,
            "candidates": [
                {
                    "set": candidate.point,
                    "status": str(candidate.status),
                    f"validation_{candidate.score.name}": score(candidate),
                    "bytes": candidate.total_bytes if candidate.done else None,
                    "collapsed": candidate.collapsed,
                    "widened": index >= len(self.candidates) - self.widened,
                }
                for index, candidate in enumerate(self.candidates)
            ],
        }


def score(candidate: CellResult) -> float | None:
    """Validation score after the last round; ``None`` for a run that did not finish."""
    finished = candidate.status is Status.DONE and candidate.curve
    return candidate.curve[-1].score if finished else None


def choose(candidates: Sequence[CellResult]) -> Point | None:
    """The point of the best candidate by :data:`RULE`.

    One that answers every example the same is not one. ``None`` if none is left, or if one is yet
    to run or to be repaired: a choice from part of the grid would not be the one declared.
    """
    if any(candidate.status in (Status.MISSING, Status.FAILED) for candidate in candidates):
        return None
    scored = [
        (-candidate.curve[-1].sign * value, candidate.total_bytes, index)
        for index, candidate in enumerate(candidates)
        if (value := score(candidate)) is not None and not candidate.collapsed
    ]
    return candidates[min(scored)[2]].point if scored else None
