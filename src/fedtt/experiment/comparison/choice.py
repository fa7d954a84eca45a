"""The choice of hyper-parameters: on validation data, from grids of equal size, on record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedtt.config import Cell
from fedtt.config.compare import Point
from fedtt.experiment.comparison.cell_results import CellResult, Status

RULE = (
    "best validation score after the last round; among equals fewer bytes, then the first "
    "in the grid; the test split was not looked at"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A method's hyper-parameters; ``point`` is ``None`` if no candidate finished.

    ``candidates`` is empty where there was nothing to choose.
    """

    point: Point | None
    cell: Cell
    candidates: tuple[CellResult, ...]

    def without_run(self, cell: Cell) -> CellResult:
        """The outcome of a cell that cannot run for want of hyper-parameters, and why."""
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
            "setting": self.cell.setting,
            "option": self.cell.option,
            "seed": self.cell.seed,
            "candidates": [
                {
                    "set": candidate.point,
                    "status": str(candidate.status),
                    f"validation_{candidate.score.name}": score(candidate),
                    "bytes": candidate.total_bytes if candidate.done else None,
                }
                for candidate in self.candidates
            ],
        }


def score(candidate: CellResult) -> float | None:
    """Validation score after the last round; ``None`` for a run that did not finish."""
    finished = candidate.status is Status.DONE and candidate.curve
    return candidate.curve[-1].score if finished else None


def choose(candidates: Sequence[CellResult]) -> Point | None:
    """The point of the best candidate by :data:`RULE`.

    ``None`` if none finished, or if one is yet to run or to be repaired: a choice from part of the
    grid would not be the one declared.
    """
    if any(candidate.status in (Status.MISSING, Status.FAILED) for candidate in candidates):
        return None
    scored = [
        (-candidate.curve[-1].sign * value, candidate.total_bytes, index)
        for index, candidate in enumerate(candidates)
        if (value := score(candidate)) is not None
    ]
    return candidates[min(scored)[2]].point if scored else None
