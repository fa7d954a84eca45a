"""A run as it goes: a live line on a terminal, a bar in a notebook, a line a round elsewhere."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import escape_controls, format_seconds, print_line
from fedtt.cli.notebook_bar import open_bar
from fedtt.experiment.events import (
    BaselineRoundDone,
    Evaluated,
    Event,
    Notify,
    RoundDone,
    RunPrepared,
    SiteNews,
    StepDone,
    TrackerLost,
    TrainingDone,
    Waiting,
)

LINES_A_BASELINE = 10  # at most; a baseline has as many rounds as the run
MEASURED = {"before": "before training", "validation": "  validation after the round before"}


@contextmanager
def watch(out: Console, *, silent: bool) -> Iterator[Notify]:
    """A function to hand the run's events to, for the duration of the block."""
    if silent:
        yield lambda _event: None
    elif out.is_jupyter:
        with closing(open_bar()) as bar:
            yield LiveLine(out, bar)
    elif not out.is_terminal:
        yield PlainLines(out)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=out, transient=True) as progress:
            yield LiveLine(out, progress)


class PlainLines:
    """Prints one line a round, and some a baseline; no control characters."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._sent = 0
        self._durations: list[float] = []
        self._alone_durations: list[float] = []
        self._alone = False
        self._rounds_after = 0

    def __call__(self, event: Event) -> None:
        """Print what the event deserves, often nothing."""
        line = self._line(event)
        if line is not None:
            print_line(self._out, line)
        if isinstance(event, RunPrepared):
            for note in event.privacy:
                print_line(self._out, f"note: {note}")

    def _line(self, event: Event) -> str | None:
        line: str | None = None
        match event:
            case RunPrepared():
                # Training every client alone costs about what the federation costs.
                self._sent = event.sent_bytes
                self._alone = event.alone
                self._rounds_after = event.rounds if event.alone else 0
                line = describe_start(event)
            case RoundDone():
                line = self._round_line(event)
            case TrainingDone():
                line = describe_end(event, alone=self._alone)
            case BaselineRoundDone():
                line = self._baseline_line(event)
            case Evaluated() if event.what in MEASURED:
                line = f"{MEASURED[event.what]}: {describe_score(event.metrics)}"
            case SiteNews() | TrackerLost():
                line = describe_news(event)
            case _:
                pass
        return line

    def _round_line(self, event: RoundDone) -> str:
        record = event.record
        self._sent += record["uplink_bytes"] + record["downlink_bytes"]
        self._durations.append(record["seconds"])
        left = event.rounds - record["round"] - 1 + self._rounds_after
        remaining = left * sum(self._durations) / len(self._durations)
        return (
            f"round {record['round'] + 1:>3}/{event.rounds}  {describe_round(event)}  "
            f"sent {format_bytes(self._sent)}  {record['seconds']:.1f} s  "
            f"left {format_seconds(remaining)}"
        )

    def _baseline_line(self, event: BaselineRoundDone) -> str | None:
        self._alone_durations.append(event.seconds)
        done = event.round_index + 1
        lines = min(LINES_A_BASELINE, event.rounds)
        if done * lines // event.rounds == event.round_index * lines // event.rounds:
            return None
        left = event.rounds - done + (event.clients - event.number) * event.rounds
        remaining = left * sum(self._alone_durations) / len(self._alone_durations)
        return (
            f"baseline {event.number}/{event.clients}: {event.client_id} alone  "
            f"round {done:>3}/{event.rounds}  {describe_loss(event.loss)}  "
            f"{event.seconds:.1f} s  left {format_seconds(remaining)}"
        )


class Bar(Protocol):
    """What of rich's ``Progress`` is used here."""

    def add_task(self, description: str, *, total: float | None, **fields: Any) -> TaskID:
        """What the bar is of."""

    def update(self, task_id: TaskID, **changed: Any) -> None:
        """How far it is, and what is said beside it."""


class LiveLine:
    """Keeps one live line: round, client, loss, bar, time left; finished rounds scroll above."""

    def __init__(self, out: Console, progress: Bar) -> None:
        self._progress = progress
        self._plain = PlainLines(out)
        self._task = progress.add_task("preparing", total=None, detail="")
        self._prepared: RunPrepared | None = None

    def __call__(self, event: Event) -> None:
        """Update the live line, and print what scrolls."""
        match event:
            case RunPrepared():
                self._prepare(event)
            case StepDone():
                self._step(event)
            case BaselineRoundDone():
                self._count_baseline(event)
            case Waiting():
                self._wait(event)
            case RoundDone():
                self._count_round(event)
            case _:
                pass
        self._plain(event)

    def _prepare(self, event: RunPrepared) -> None:
        self._prepared = event
        client_rounds = event.cohort_size + (len(event.clients) if event.alone else 0)
        self._progress.update(
            self._task,
            total=event.rounds * client_rounds,
            completed=event.next_round * event.cohort_size,
        )

    def _step(self, event: StepDone) -> None:
        prepared = self._prepared
        if prepared is None:
            return
        phase = escape_controls(event.client_id) + (" alone" if event.alone else "")
        self._progress.update(
            self._task,
            advance=1 / event.steps,
            description=f"round {event.round_index + 1}/{prepared.rounds} {phase}",
            detail=f"step {event.step + 1}/{event.steps} loss {event.loss:.3f}",
        )

    def _count_round(self, event: RoundDone) -> None:
        """Exactly: of a private round no step is told, and its cohort is of any size."""
        if self._prepared is not None:
            completed = (event.record["round"] + 1) * self._prepared.cohort_size
            self._progress.update(self._task, completed=completed)

    def _count_baseline(self, event: BaselineRoundDone) -> None:
        """Exactly, as clients that an earlier process trained alone took no step here."""
        if self._prepared is not None:
            federated = event.rounds * self._prepared.cohort_size
            before = (event.number - 1) * event.rounds
            completed = federated + before + event.round_index + 1
            self._progress.update(self._task, completed=completed)

    def _wait(self, event: Waiting) -> None:
        rounds = self._prepared.rounds if self._prepared else "?"
        self._progress.update(
            self._task,
            completed=event.round_index * event.asked + event.answered,
            description=f"round {event.round_index + 1}/{rounds}",
            detail=f"{event.answered} of {event.asked} sites answered, "
            f"{format_seconds(event.seconds_left)} to the deadline",
        )


def describe_news(event: SiteNews | TrackerLost) -> str:
    """What happened beside the rounds."""
    if isinstance(event, SiteNews):
        return f"site {event.site}: {event.what}"
    return f"tracker {event.name} failed and hears nothing more: {event.error}"


def describe_start(event: RunPrepared) -> str:
    """Who takes part, and what each round exchanges."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in event.exchanged_parameters.items())
    return (
        f"{_where_it_goes_on(event)}{len(event.clients)} clients, {event.cohort_size} a round, "
        f"{event.rounds} rounds; exchanged parameters: {kinds}"
    )


def _where_it_goes_on(event: RunPrepared) -> str:
    if not event.next_round:
        return ""
    if event.next_round >= event.rounds:
        return "no round was left to do; "
    return f"resumed at round {event.next_round + 1}; "


def describe_round(event: RoundDone) -> str:
    """Cohort, training loss and validation score of a finished round."""
    record = event.record
    called = len(record["clients"]) + len(record["dropped"])
    answered = f"{len(record['clients'])} of {called}" if record["dropped"] else f"{called}"
    parts = [f"cohort {answered}", describe_loss(record["loss"])]
    if "unused" in record:
        parts.append(f"no step: {record['unused']}")
    if record["validation"] is not None:
        parts.append(f"validation {describe_score(record['validation'])}")
    if "privacy" in record:
        parts.append(describe_privacy(record["privacy"]))
    if "example_privacy" in record:
        parts.append(f"example-level {describe_privacy(record['example_privacy'])}")
    if record.get("secure_sum", {}).get("out_of_range"):
        cut = record["secure_sum"]["out_of_range"]
        parts.append(f"{cut:,} numbers cut to privacy.secure_aggregation.value_range")
    return "  ".join(parts)


def describe_privacy(spent: dict[str, float]) -> str:
    """What the rounds so far have spent of the privacy of any one client, or example."""
    return f"epsilon {spent['epsilon']:.3f} (delta {spent['delta']:g})"


def describe_loss(loss: float | None) -> str:
    """The training loss; of a round in which nobody took a step there is none."""
    return "loss -" if loss is None else f"loss {loss:.4f}"


def describe_end(event: TrainingDone, *, alone: bool) -> str:
    """How the federated model does after the last round; ``alone``: the baselines come next."""
    parts = [f"training done: {event.rounds} rounds"]
    if event.validation is not None:
        parts.append(f"validation {describe_score(event.validation)}")
    if alone:
        parts.append("next: each client trained alone, to compare")
    return "  ".join(parts)


def describe_score(metrics: dict[str, dict[str, float]]) -> str:
    """The task's score, the first of its metrics: its mean over clients."""
    name, values = next(iter(metrics.items()))
    return f"{name} {values['mean']:.4f}"
