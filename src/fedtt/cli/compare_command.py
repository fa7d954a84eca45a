"""``fedtt compare``: what is shown while cells run, and after."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import (
    console,
    escape_controls,
    format_seconds,
    print_json,
    print_line,
    writable,
)
from fedtt.cli.interrupt import interrupt_flag
from fedtt.cli.report_command import leave_report
from fedtt.config import check_cells, load_comparison
from fedtt.errors import RunError
from fedtt.run_place import DEFAULT_PARENT

if TYPE_CHECKING:
    from fedtt.experiment.comparison import CellEnded, CompareEvent, NotifyCompare, Outcome
    from fedtt.experiment.comparison.text_tables import TextTable

EXAMPLES_OF_FAILURE = 3


def compare_command(
    config_path: Path,
    *,
    overrides: list[str],
    out: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run what is left of a comparison and show its tables."""
    comparison = load_comparison(config_path, overrides=overrides)
    check_cells(comparison)
    directory = out or DEFAULT_PARENT / config_path.stem
    screen = console()
    with interrupt_flag() as stop, watch_comparison(screen, silent=quiet or as_json) as notify:
        from fedtt.experiment.comparison import run_comparison

        outcome = run_comparison(
            comparison, directory, notify=notify, should_stop=stop.is_set, overwrite=overwrite
        )
    if as_json:
        print_json(_document(outcome))
    elif not quiet:
        _print_outcome(screen, outcome)
    leave_report(directory, silent=quiet or as_json)
    _raise_failures(outcome, config_path, out=directory)


@contextmanager
def watch_comparison(out: Console, *, silent: bool) -> Iterator["NotifyCompare"]:
    """A function to hand the comparison's events to: a line a run, and a live one on a terminal."""
    if silent:
        yield lambda _event: None
    elif out.is_terminal:
        with out.status("loading torch and transformers ...") as live:
            yield _Lines(out, live)
    else:
        yield _Lines(out, None)


class _Lines:
    """Prints one line a run that ended; keeps the live line, where there is one."""

    def __init__(self, out: Console, live: Status | None) -> None:
        self._out, self._live = out, live
        self._started: float | None = None
        self._rounds = 0
        self._now = ""

    def __call__(self, event: "CompareEvent") -> None:
        """Print what the event deserves, often nothing."""
        from fedtt.cli.progress import describe_round
        from fedtt.experiment import RoundDone, StepDone
        from fedtt.experiment.comparison import CellEnded, CellStarted

        match event:
            case CellStarted():
                self._started = self._started or time.monotonic()
                self._now = f"{_place(event.index, event.total)}  {event.run}"
                self._show("preparing")
            case StepDone():
                self._show(
                    f"round {event.round_index + 1} {event.client_id} "
                    f"step {event.step + 1}/{event.steps} loss {event.loss:.3f}"
                )
            case RoundDone():
                self._show(f"round {event.record['round'] + 1} {describe_round(event)}")
            case CellEnded():
                self._rounds += event.rounds_run
                print_line(self._out, self._line(event))
            case _:
                pass

    def _show(self, detail: str) -> None:
        if self._live is not None:
            # As text: a status reads a string as markup, and client ids are any string.
            self._live.update(Text(escape_controls(f"{self._now}  {detail}")))

    def _line(self, event: "CellEnded") -> str:
        elapsed = 0.0 if self._started is None else time.monotonic() - self._started
        remaining = elapsed / max(1, self._rounds) * event.rounds_left
        return (
            f"{_place(event.index, event.total)}  {event.run}  {_outcome_of(event)}  "
            f"left {format_seconds(remaining)}"
        )


def _place(index: int, total: int) -> str:
    return f"cell {index:>{len(str(total))}}/{total}"


def _outcome_of(event: "CellEnded") -> str:
    result = event.result
    if not result.done:
        return f"{result.status}: {result.error.splitlines()[0]}"
    parts = [f"validation {result.curve[-1].score:.4f}"]
    parts += ["collapsed: every example has the same answer"] if result.collapsed else []
    if result.test:
        parts.append(f"test {result.test_score:.4f}")
    parts += [f"sent {format_bytes(result.total_bytes)}", format_seconds(result.seconds)]
    return "  ".join(parts)


def _print_outcome(out: Console, outcome: "Outcome") -> None:
    from fedtt.experiment.comparison.text_tables import caption, text_tables

    for text in text_tables(outcome.results):
        out.print()
        out.print(_rich_table(text))
    print_line(out, writable(caption(outcome.results)), style="dim")
    for method, choice in outcome.choices.items():
        if choice.candidates and (choice.point is not None or choice.all_collapsed):
            print_line(out, f"chosen on validation data: {method}: {choice.describe()}")
    for note in outcome.notes:
        print_line(out, f"note: {note}")
    folder = outcome.files[0].parent
    print_line(out, f"{folder}: {', '.join(path.name for path in outcome.files)}")


def _rich_table(text: "TextTable") -> Table:
    """On a narrow terminal cells break between words, never inside a number."""
    table = Table(title=text.title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for index, column in enumerate(text.header):
        words = [word for row in text.rows for word in writable(row[index]).split()]
        table.add_column(
            writable(column),
            justify="right" if index else "left",
            min_width=max(map(len, words)),
            overflow="fold",
        )
    for row in text.rows:
        table.add_row(*map(writable, row))
    return table


def _document(outcome: "Outcome") -> dict[str, Any]:
    from fedtt.experiment.comparison import row_values

    groups = [
        {
            "setting": group.setting,
            "option": group.option,
            "equal_bytes_uplink": group.budget,
            "methods": [row_values(row) for row in group.rows],
        }
        for group in outcome.results.groups
    ]
    return {
        "reference": outcome.results.reference,
        "groups": groups,
        "choices": {method: choice.record() for method, choice in outcome.choices.items()},
        "files": [str(path) for path in outcome.files],
        "notes": list(outcome.notes),
    }


def _raise_failures(outcome: "Outcome", config_path: Path, *, out: Path) -> None:
    from fedtt.experiment.comparison import Status

    failed = [cell for cell in outcome.results.cells if cell.status is Status.FAILED]
    if failed:
        shown = "\n".join(
            f"  - {cell.cell}: {cell.error.splitlines()[0]}"
            for cell in failed[:EXAMPLES_OF_FAILURE]
        )
        raise RunError(
            f"{len(failed)} of {len(outcome.results.cells)} cells failed:\n{shown}",
            where=str(out),
            fix=f"results.csv has every error; once mended, fedtt compare {config_path} "
            f"--out {out} runs these alone",
        )
