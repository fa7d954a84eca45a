"""A comparison from wherever it stopped to its end: grids, choices, cells, files."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedtt.config import (
    Cell,
    Comparison,
    MethodVariantConfig,
    all_cells,
    cell_config,
    check_cells,
    is_valid_point,
    tuning_cell,
    tuning_config,
)
from fedtt.config.compare import Point
from fedtt.engine.build import method_of
from fedtt.engine.checkpoint import dump_json, write_atomically
from fedtt.errors import InterruptedRunError
from fedtt.experiment.common_steps import ShouldStop
from fedtt.experiment.comparison.cell_results import CellResult, Status, read_result
from fedtt.experiment.comparison.cell_statistics import Results, summarize_cells
from fedtt.experiment.comparison.choice import RULE, Choice, choose
from fedtt.experiment.comparison.curves import MISSING_MATPLOTLIB, draw_curves
from fedtt.experiment.comparison.execute import PlannedRun, check_same, execute
from fedtt.experiment.comparison.formats import to_csv, to_latex, to_markdown
from fedtt.experiment.comparison.frontier import draw_frontier
from fedtt.experiment.comparison.grid_edges import beyond
from fedtt.experiment.comparison.layout import CHOICES, cell_path, claim, lock_path, tuning_path
from fedtt.experiment.events import Event
from fedtt.experiment.lock import locked_if_free
from fedtt.trackers import check_trackers

POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class CellStarted:
    """A run begins, or goes on: the ``index``-th (from 1) of ``total``, grid runs included."""

    run: PlannedRun
    index: int
    total: int


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """A run ended, however it did.

    ``rounds_run`` are those it had left; ``rounds_left`` those of the runs after it.
    """

    run: PlannedRun
    result: CellResult
    index: int
    total: int
    rounds_run: int
    rounds_left: int


CompareEvent = CellStarted | CellEnded | Event
NotifyCompare = Callable[[CompareEvent], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Results, choices by method, files written, and what a reader should know of them."""

    results: Results
    choices: dict[str, Choice]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What every part of a comparison needs."""

    comparison: Comparison
    out: Path
    notify: NotifyCompare
    should_stop: ShouldStop
    grid: tuple[PlannedRun, ...]


def run_comparison(
    comparison: Comparison,
    out: Path,
    *,
    notify: NotifyCompare,
    should_stop: ShouldStop = lambda: False,
    overwrite: bool = False,
) -> Outcome:
    """Run what is left of the comparison in ``out`` and write its tables and curves.

    Finished runs are only read; what another process with the same ``out`` is running is left to
    it. A run that diverges is an outcome. Any other error ends the comparison if nothing ran before
    it; later it is recorded with its cell, and tried again in the next call. With ``overwrite``,
    runs whose configuration changed start afresh.

    Raises :class:`ConfigError` for a bad cell before anything runs, or for a directory that holds
    another run; :class:`RunError` for a directory that is not a comparison's;
    :class:`InterruptedRunError` when asked to stop, everything so far saved.
    """
    check_cells(comparison)
    grid = tuple(_grid_runs(comparison, out))
    task = _grown(
        _Task(comparison=comparison, out=out, notify=notify, should_stop=should_stop, grid=grid)
    )
    planned = (*task.grid, *_cell_runs(task, _choices(task)))
    for run in planned:
        check_trackers(run.config.track.to)
        method_of(run.config)  # raises where the keys of a method do not go together
    if not overwrite:
        check_same(planned)
    claim(out, comparison)
    # Cells whose hyper-parameters are still to be chosen count with the rounds of any point.
    later = _rounds_of_cells(task)
    task, tuned = _run_grid(task, later=later)
    choices = _choices(task)
    write_atomically(out / CHOICES, dump_json(_choices_record(choices)))
    runs = _cell_runs(task, choices)
    if not overwrite:
        check_same(runs)
    outcomes = _outcomes(task, runs, choices)
    ended = _run_each(task, runs, before=len(task.grid), later=0, something_ran=tuned > 0)
    for run, result in ended:
        outcomes[run.cell] = result
        _write_tables(task, _results(task, outcomes), choices)
    results = _results(task, outcomes)
    files = _write_tables(task, results, choices)
    figures = {"curves": draw_curves(results), "frontier": draw_frontier(results)}
    for name, figure in figures.items():
        for kind, content in (figure or {}).items():
            files = (*files, out / f"{name}.{kind}")
            write_atomically(files[-1], content)
    notes = (MISSING_MATPLOTLIB,) if None in figures.values() else ()
    return Outcome(results=results, choices=choices, files=files, notes=notes)


def results_so_far(comparison: Comparison, out: Path) -> tuple[Results, dict[str, Choice]]:
    """What lies in ``out``: the results of its cells, and the choices of its grids."""
    grid = tuple(_grid_runs(comparison, out))
    task = _grown(
        _Task(
            comparison=comparison,
            out=out,
            notify=lambda _event: None,
            should_stop=lambda: False,
            grid=grid,
        )
    )
    choices = _choices(task)
    return _results(task, _outcomes(task, _cell_runs(task, choices), choices)), choices


def _grid_runs(comparison: Comparison, out: Path) -> Iterator[PlannedRun]:
    for method in comparison.compare.methods:
        for point in method.points if len(method.points) > 1 else ():
            yield _grid_run(comparison, out, method, point)


def _grid_run(
    comparison: Comparison, out: Path, method: MethodVariantConfig, point: Point
) -> PlannedRun:
    return PlannedRun(
        cell=tuning_cell(comparison, method),
        point=point,
        config=tuning_config(comparison, method, point),
        path=tuning_path(out, method=method.name, point=point),
        tuning=True,
    )


def _run_grid(task: _Task, *, later: int) -> tuple[_Task, int]:
    """Run the grid, and what it grows by; the task with all of it, and how many runs it took."""
    ran = 0
    while True:
        grid = task.grid
        ran += sum(1 for _ in _run_each(task, grid, before=0, later=later, something_ran=ran > 0))
        task = _grown(task)
        if len(task.grid) == len(grid):
            return task, ran


def _grown(task: _Task) -> _Task:
    """The task with all that its grid grows by, as far as finished runs tell.

    A function of what the runs came to: whoever takes the comparison up finds the same.
    """
    if not task.comparison.compare.widen:
        return task
    while more := tuple(run for m in task.comparison.compare.methods for run in _wider(task, m)):
        task = replace(task, grid=(*task.grid, *more))
    return task


def _wider(task: _Task, method: MethodVariantConfig) -> Iterator[PlannedRun]:
    """The runs one value beyond every edge at which the method's choice lies."""
    point = _choice(task, method).point
    tried = [run.point for run in task.grid if run.cell.method == method.name]
    if point is None or not tried:
        return
    at_most = task.comparison.compare.widen
    for found in beyond(point, declared=method.points, tried=tried, at_most=at_most):
        if is_valid_point(task.comparison, method, found):
            yield _grid_run(task.comparison, task.out, method, found)


def _choices(task: _Task) -> dict[str, Choice]:
    """Every method's choice as far as the grid has come; without a grid there is no choosing."""
    return {method.name: _choice(task, method) for method in task.comparison.compare.methods}


def _choice(task: _Task, method: MethodVariantConfig) -> Choice:
    runs = [run for run in task.grid if run.cell.method == method.name]
    candidates = tuple(_result_of(run) for run in runs)
    declared = len(method.points)
    # Nobody asked for the values beyond the grid: one that cannot run, as a rank that is too high
    # for the model, is no reason to choose nothing.
    fit = [c for i, c in enumerate(candidates) if i < declared or c.status is not Status.FAILED]
    return Choice(
        point=choose(fit) if candidates else method.points[0],
        cell=tuning_cell(task.comparison, method),
        candidates=candidates,
        widened=max(0, len(candidates) - declared),
    )


def _cell_runs(task: _Task, choices: dict[str, Choice]) -> tuple[PlannedRun, ...]:
    """The runs of all cells whose hyper-parameters are known."""
    return tuple(
        PlannedRun(
            cell=cell,
            point=point,
            config=cell_config(task.comparison, cell, point),
            path=cell_path(task.out, cell),
            tuning=False,
        )
        for cell in all_cells(task.comparison)
        if (point := choices[cell.method].point) is not None
    )


def _result_of(run: PlannedRun) -> CellResult:
    """What lies in the run's directory, if it is that run."""
    if run.differences():
        return CellResult(cell=run.cell, point=run.point, status=Status.MISSING)
    return read_result(run.path, run.cell, run.point)


def _run_each(
    task: _Task, runs: Sequence[PlannedRun], *, before: int, later: int, something_ran: bool
) -> Iterator[tuple[PlannedRun, CellResult]]:
    """Run what is not finished, one after another; each with its outcome, as it ends.

    What another process is running is left to it and waited for at the end; it is run here if that
    process stops. ``before``: how many runs of the comparison come before the first of these;
    ``later``: how many rounds come after the last.
    """
    left = {run.path: run.rounds_left for run in runs if not run.finished}
    waiting = [(before + i + 1, run) for i, run in enumerate(runs) if run.path in left]
    while waiting:
        elsewhere = []
        for index, run in waiting:
            with locked_if_free(lock_path(task.out, run.path)) as free:
                if not free:
                    elsewhere.append((index, run))
                    continue
                rounds_run = left.pop(run.path)
                if run.finished:  # by another process, since this one began
                    yield run, _result_of(run)
                    continue
                _run_one(task, run, index=index, tolerate_errors=something_ran)
                something_ran = True
                result = _result_of(run)
                task.notify(
                    CellEnded(
                        run=run,
                        result=result,
                        index=index,
                        total=_total(task),
                        rounds_run=rounds_run,
                        rounds_left=sum(left.values()) + later,
                    )
                )
            yield run, result
        waiting = elsewhere
        if waiting:
            _pause(task, waiting[0][1])


def _run_one(task: _Task, run: PlannedRun, *, index: int, tolerate_errors: bool) -> None:
    task.notify(CellStarted(run=run, index=index, total=_total(task)))
    try:
        execute(
            run,
            notify=task.notify,
            should_stop=task.should_stop,
            tolerate_errors=tolerate_errors,
        )
    except InterruptedRunError as error:
        raise _interrupted(task, where=f"{run} ({index} of {_total(task)})") from error


def _pause(task: _Task, run: PlannedRun) -> None:
    """Give the process that runs ``run`` some time."""
    if task.should_stop():
        raise _interrupted(task, where=f"waiting for another process to finish {run}")
    time.sleep(POLL_SECONDS)


def _interrupted(task: _Task, *, where: str) -> InterruptedRunError:
    return InterruptedRunError(
        "stopped on request",
        where=where,
        fix=f"fedtt compare {task.comparison.where} --out {task.out} goes on from there",
    )


def _total(task: _Task) -> int:
    return len(task.grid) + len(all_cells(task.comparison))


def _rounds_of_cells(task: _Task) -> int:
    first = {method.name: method.points[0] for method in task.comparison.compare.methods}
    return sum(
        cell_config(task.comparison, cell, first[cell.method]).rounds
        for cell in all_cells(task.comparison)
    )


def _outcomes(
    task: _Task, runs: Sequence[PlannedRun], choices: dict[str, Choice]
) -> dict[Cell, CellResult]:
    known = {run.cell: _result_of(run) for run in runs}
    return {
        cell: known[cell] if cell in known else choices[cell.method].without_run(cell)
        for cell in all_cells(task.comparison)
    }


def _results(task: _Task, outcomes: dict[Cell, CellResult]) -> Results:
    compare = task.comparison.compare
    return summarize_cells(
        list(outcomes.values()),
        reference=task.comparison.reference,
        targets=compare.target,
        budget=compare.budget,
        margin=compare.margin,
        options_shown=bool(compare.options),
    )


def _write_tables(task: _Task, results: Results, choices: dict[str, Choice]) -> tuple[Path, ...]:
    chosen = [
        f"{method}: {choice.describe()}" for method, choice in choices.items() if choice.candidates
    ]
    contents = {
        "results.csv": to_csv(results),
        "results.md": to_markdown(results, choices=chosen),
        "results.tex": to_latex(results),
    }
    for name, content in contents.items():
        write_atomically(task.out / name, content.encode())
    return tuple(task.out / name for name in contents)


def _choices_record(choices: dict[str, Choice]) -> dict[str, object]:
    methods = {method: choice.record() for method, choice in choices.items()}
    return {"rule": RULE, "methods": methods}
