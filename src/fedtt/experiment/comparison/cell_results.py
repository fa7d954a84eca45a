"""What a comparison keeps of each run, and what is read off one run's validation curve."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from fedtt.config import Cell
from fedtt.config.compare import Point
from fedtt.errors import RunError
from fedtt.experiment.comparison.layout import FAILURE
from fedtt.experiment.directory import open_run
from fedtt.experiment.run_files import FileContent, SummaryContent, check_content
from fedtt.metrics import ACCURACY, CONSTANT, MEAN, POOLED, Score
from fedtt.strict_json import parse_json


class Status(StrEnum):
    """How far a run came. Only ``MISSING`` and ``FAILED`` ones are run when asked again."""

    DONE = "done"
    DIVERGED = "diverged"
    FAILED = "failed"
    COLLAPSED = "collapsed"  # of no directory: every run that it would follow answers the same
    MISSING = "missing"


class FailureContent(FileContent):
    """``failure.json``: how a run without a summary ended."""

    status: Literal["diverged", "failed"]
    error: str


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The global model after a validated round: ``round`` counts from 1, bytes from the start.

    ``score`` is the task's, the mean over clients; ``sign`` is -1 where less of it is better.
    ``constant``: the model gave every example the same answer.
    """

    round: int
    score: float
    uplink_bytes: int
    downlink_bytes: int
    sign: int = 1
    constant: bool = False

    @property
    def total_bytes(self) -> int:
        """Both directions."""
        return self.uplink_bytes + self.downlink_bytes


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell's outcome. Of a cell that is not ``DONE`` only status and error mean anything.

    ``score`` is what the cell is judged by; ``test`` maps metric to its unweighted mean over
    clients; ``curve`` has every validated round.
    """

    cell: Cell
    point: Point
    status: Status
    error: str = ""
    score: Score = ACCURACY
    test: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Validated, ...] = ()
    exchanged_parameters: Mapping[str, int] = field(default_factory=dict)
    uplink_bytes: int = 0
    downlink_bytes: int = 0
    client_rounds: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the cell counts in the tables."""
        return self.status is Status.DONE

    @property
    def collapsed(self) -> bool:
        """Whether the model it ended with gave every validation example the same answer."""
        return self.done and bool(self.curve) and self.curve[-1].constant

    @property
    def total_bytes(self) -> int:
        """Both directions, all rounds."""
        return self.uplink_bytes + self.downlink_bytes

    @property
    def test_score(self) -> float:
        """The score on the test split, mean over clients."""
        return self.test[self.score.name]

    @property
    def uplink_per_client_round(self) -> float:
        """Mean bytes that one client sends in one round."""
        return self.uplink_bytes / max(1, self.client_rounds)


def best(curve: Iterable[Validated]) -> Validated | None:
    """The validated round of the best score, the earliest among equals."""
    return max(curve, key=lambda at: (at.sign * at.score, -at.round), default=None)


def first_reaching(curve: Iterable[Validated], target: float) -> Validated | None:
    """The first validated round whose score is ``target`` or better."""
    return next((at for at in curve if at.sign * (at.score - target) >= 0), None)


def last_within(curve: Iterable[Validated], uplink_bytes: int) -> Validated | None:
    """The last validated round by which at most so many bytes went up."""
    return max(
        (at for at in curve if at.uplink_bytes <= uplink_bytes),
        key=lambda at: at.round,
        default=None,
    )


def status_of(path: Path) -> Status:
    """How far the run in that directory came."""
    if (path / "summary.json").is_file():
        return Status.DONE
    if (path / FAILURE).is_file():
        return Status(_read(path / FAILURE, FailureContent)["status"])
    return Status.MISSING


def read_result(path: Path, cell: Cell, point: Point) -> CellResult:
    """The outcome of the run in ``path``. Raises :class:`RunError` for a damaged file."""
    status = status_of(path)
    if status is not Status.DONE:
        error = (
            str(_read(path / FAILURE, FailureContent)["error"])
            if status is not Status.MISSING
            else ""
        )
        return CellResult(cell=cell, point=point, status=status, error=error)
    summary = _read(path / "summary.json", SummaryContent)
    rounds = open_run(path).rounds()
    test = summary["test"] or {}
    score = Score(**summary["score"]) if "score" in summary else ACCURACY
    return CellResult(
        cell=cell,
        point=point,
        status=status,
        score=score,
        test={metric: values[MEAN] for metric, values in test.items()},
        curve=curve_of(rounds, score),
        exchanged_parameters=summary["exchanged_parameters"],
        uplink_bytes=sum(record["uplink_bytes"] for record in rounds),
        downlink_bytes=sum(record["downlink_bytes"] for record in rounds),
        client_rounds=sum(len(record["clients"]) for record in rounds),
        seconds=summary["seconds"],
    )


def curve_of(rounds: Iterable[dict[str, Any]], score: Score) -> tuple[Validated, ...]:
    """The validated rounds among the lines of ``rounds.jsonl``, bytes summed up to each."""
    curve, up, down = [], 0, 0
    for record in rounds:
        up, down = up + record["uplink_bytes"], down + record["downlink_bytes"]
        if record["validation"] is not None:
            curve.append(
                Validated(
                    round=record["round"] + 1,
                    score=record["validation"][score.name][MEAN],
                    uplink_bytes=up,
                    downlink_bytes=down,
                    sign=1 if score.higher_is_better else -1,
                    constant=_is_constant(record["validation"]),
                )
            )
    return tuple(curve)


def _is_constant(validation: Mapping[str, Mapping[str, float]]) -> bool:
    """Of all clients' examples together; runs of before this was noted did not collapse."""
    constant = validation.get(CONSTANT, {})
    return constant.get(POOLED, constant.get(MEAN)) == 1


def _read(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    try:
        return check_content(parse_json(path.read_text(encoding="utf-8")), kind)
    except (OSError, ValueError) as error:
        raise RunError(
            "a file of the comparison cannot be read",
            where=str(path),
            got=error,
            fix=f"delete {path.parent}; it is run again",
        ) from error
