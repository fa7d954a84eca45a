"""From cells to the rows of a table: means over seeds, spreads, paired differences.

Every table and picture of a comparison is made of the :class:`Group` values here.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtt.attacks import BACKDOOR_SUCCESS
from fedtt.experiment.comparison.cell_results import (
    CellResult,
    Status,
    best,
    first_reaching,
    last_within,
)
from fedtt.metrics import ACCURACY, Score


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of ``n`` values; no ``sd`` of a single one."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Mean bytes until a target was reached, over the seeds that reached it, of ``seeds`` done."""

    target: float
    reached: int
    seeds: int
    total_bytes: float | None
    uplink_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a group's rows are to say, beside their scores."""

    reference: str
    targets: tuple[float, ...]
    budget: int | None
    margin: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method in one setting and option. Every mean is over the seeds that are done.

    ``collapsed`` of them end with the same answer to everything. ``difference`` is to the reference
    method, seed by seed; ``None`` for the reference itself.
    """

    method: str
    seeds: int
    statuses: Mapping[Status, int]
    test_score: Spread | None
    difference: Spread | None
    best_round: float | None
    uplink_per_client_round: float | None
    total_bytes: float | None
    reached: tuple[Reached, ...]
    equal_bytes_score: Spread | None
    collapsed: int = 0
    to_reference: Reached | None = None
    backdoor: Spread | None = None

    @property
    def done(self) -> int:
        """How many seeds are done."""
        return self.statuses.get(Status.DONE, 0)


@dataclass(frozen=True, kw_only=True)
class Group:
    """One setting and option: ``budget`` is the uplink of the equal-bytes column, in bytes.

    ``reference_target`` is the reference's final validation score less the comparison's margin.
    """

    setting: str
    option: str
    budget: int | None
    reference_target: float | None
    rows: tuple[Row, ...]
    cells: tuple[CellResult, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """A comparison's outcome. ``options_shown``: the comparison has that axis."""

    groups: tuple[Group, ...]
    reference: str
    targets: tuple[float, ...]
    margin: float | None
    options_shown: bool

    @property
    def score(self) -> Score:
        """What the cells are judged by: one task is compared, so one score."""
        return next((cell.score for cell in self.cells if cell.done), ACCURACY)

    @property
    def has_backdoor(self) -> bool:
        """Whether any cell tried one."""
        return any(row.backdoor is not None for group in self.groups for row in group.rows)

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """Every cell, group by group, method by method, seed by seed."""
        return tuple(cell for group in self.groups for cell in group.cells)

    def title(self, group: Group) -> str:
        """Heads the group's table and panel."""
        return f"{group.setting}, {group.option}" if self.options_shown else group.setting


def summarize_cells(
    cells: Sequence[CellResult],
    *,
    reference: str,
    targets: tuple[float, ...] = (),
    budget: int | None = None,
    margin: float | None = None,
    options_shown: bool = False,
) -> Results:
    """The results of cells in any order; axes keep the order in which their names first occur.

    ``budget`` in uplink bytes, or by default, in each setting, that of its cheapest finished cell.
    """
    groups = []
    for setting in _distinct(cell.cell.setting for cell in cells):
        in_setting = [cell for cell in cells if cell.cell.setting == setting]
        uplinks = [cell.uplink_bytes for cell in in_setting if cell.done]
        allowed = min(uplinks, default=None) if budget is None else budget
        for option in _distinct(cell.cell.option for cell in in_setting):
            of_option = [cell for cell in in_setting if cell.cell.option == option]
            asked = Asked(reference=reference, targets=targets, budget=allowed, margin=margin)
            groups.append(_group(setting, option, of_option, asked))
    return Results(
        groups=tuple(groups),
        reference=reference,
        targets=targets,
        margin=margin,
        options_shown=options_shown,
    )


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and sample standard deviation; ``None`` of nothing."""
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean=statistics.fmean(values), sd=sd, n=len(values))


def row_of(
    cells: Sequence[CellResult],
    *,
    reference: Mapping[int, float],
    targets: Iterable[float],
    budget: int | None,
    reference_target: float | None = None,
) -> Row:
    """A method's row from its cells; ``reference``: seed -> test score, empty for its own row.

    The difference pairs a seed with the same seed of the reference and leaves out what has no pair.
    """
    done = [cell for cell in cells if cell.done]
    within = [last_within(cell.curve, budget) for cell in done] if budget is not None else []
    peaks = [at.round for cell in done if (at := best(cell.curve)) is not None]
    paired = [
        cell.test_score - reference[cell.cell.seed] for cell in done if cell.cell.seed in reference
    ]
    return Row(
        method=cells[0].cell.method,
        seeds=len(cells),
        statuses={s: n for s in Status if (n := sum(cell.status is s for cell in cells))},
        test_score=spread([cell.test_score for cell in done]),
        difference=spread(paired),
        best_round=_mean(peaks),
        uplink_per_client_round=_mean([cell.uplink_per_client_round for cell in done]),
        total_bytes=_mean([cell.total_bytes for cell in done]),
        reached=tuple(_reached(done, target) for target in targets),
        equal_bytes_score=spread([at.score for at in within if at is not None]),
        collapsed=sum(cell.collapsed for cell in done),
        backdoor=spread([c.test[BACKDOOR_SUCCESS] for c in done if BACKDOOR_SUCCESS in c.test]),
        to_reference=None if reference_target is None else _reached(done, reference_target),
    )


def row_values(row: Row) -> dict[str, Any]:
    """The row as plain values, for JSON."""
    return {
        "method": row.method,
        "seeds": row.seeds,
        "statuses": {str(status): count for status, count in row.statuses.items()},
        "collapsed": row.collapsed,
        "test_score": _plain(row.test_score),
        "difference": _plain(row.difference),
        **({} if row.backdoor is None else {"backdoor_success": _plain(row.backdoor)}),
        "best_validation_round": row.best_round,
        "uplink_bytes_per_client_round": row.uplink_per_client_round,
        "total_bytes": row.total_bytes,
        "bytes_to_target": [vars(reached) for reached in row.reached],
        "bytes_to_reference": None if row.to_reference is None else vars(row.to_reference),
        "validation_score_at_equal_bytes": _plain(row.equal_bytes_score),
    }


def _group(
    setting: str,
    option: str,
    cells: Sequence[CellResult],
    asked: Asked,
) -> Group:
    methods = _distinct(cell.cell.method for cell in cells)
    ordered = [cell for method in methods for cell in cells if cell.cell.method == method]
    compared_to = {
        cell.cell.seed: cell.test_score
        for cell in cells
        if cell.done and cell.cell.method == asked.reference
    }
    target = _reference_target(ordered, asked)
    rows = tuple(
        row_of(
            [cell for cell in ordered if cell.cell.method == method],
            reference={} if method == asked.reference else compared_to,
            targets=asked.targets,
            budget=asked.budget,
            reference_target=target,
        )
        for method in methods
    )
    return Group(
        setting=setting,
        option=option,
        budget=asked.budget,
        reference_target=target,
        rows=rows,
        cells=tuple(ordered),
    )


def _reference_target(cells: Iterable[CellResult], asked: Asked) -> float | None:
    """What the margin leaves of the reference's last validation; of no reference, None."""
    last = [c.curve[-1] for c in cells if c.done and c.curve and c.cell.method == asked.reference]
    if asked.margin is None or not last:
        return None
    return statistics.fmean(at.score for at in last) - last[0].sign * asked.margin


def _reached(done: Sequence[CellResult], target: float) -> Reached:
    hits = [at for cell in done if (at := first_reaching(cell.curve, target)) is not None]
    return Reached(
        target=target,
        reached=len(hits),
        seeds=len(done),
        total_bytes=_mean([at.total_bytes for at in hits]),
        uplink_bytes=_mean([at.uplink_bytes for at in hits]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _plain(value: Spread | None) -> dict[str, Any] | None:
    return None if value is None else vars(value)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
