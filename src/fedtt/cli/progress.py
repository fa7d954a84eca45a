"""A run as it goes: a live line on a terminal, one plain line a round elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fedtt.cli.console import format_bytes, format_seconds, print_line
from fedtt.experiment.events import (
    Evaluated,
    Event,
    Notify,
    RoundDone,
    RunPrepared,
    SiteNews,
    StepDone,
    TrackerLost,
    Waiting,
)

MEASURED = {"before": "before training", "validation": "  validation after the round before"}


@contextmanager
def watch(out: Console, *, silent: bool) -> Iterator[Notify]:
    """A function to hand the run's events to, for the duration of the block."""
    if silent:
        yield lambda _event: None
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
    """Prints one line a round and one a baseline; no control characters."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._sent = 0
        self._durations: list[float] = []
        self._announced: set[str] = set()
        self._rounds_after = 0

    def __call__(self, event: Event) -> None:
        """Print what the event deserves, often nothing."""
        line = self._line(event)
        if line is not None:
            print_line(self._out, line)

    def _line(self, event: Event) -> str | None:
        match event:
            case RunPrepared():
                # Training every client alone costs about what the federation costs.
                self._sent = event.sent_bytes
                self._rounds_after = event.rounds if event.alone else 0
                return describe_start(event)
            case StepDone(alone=True) if event.client_id not in self._announced:
                self._announced.add(event.client_id)
                return f"baseline: {event.client_id} alone ..."
            case RoundDone():
                return self._round_line(event)
            case Evaluated() if event.what in MEASURED:
                return f"{MEASURED[event.what]}: {describe_score(event.metrics)}"
            case SiteNews() | TrackerLost():
                return describe_news(event)
            case _:
                return None

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


class LiveLine:
    """Keeps one live line: round, client, loss, bar, time left; finished rounds scroll above."""

    def __init__(self, out: Console, progress: Progress) -> None:
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
            case Waiting():
                self._wait(event)
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
        phase = f"{event.client_id} alone" if event.alone else f"{event.client_id}"
        self._progress.update(
            self._task,
            advance=1 / event.steps,
            description=f"round {event.round_index + 1}/{prepared.rounds} {phase}",
            detail=f"step {event.step + 1}/{event.steps} loss {event.loss:.3f}",
        )

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
    start = f"resumed at round {event.next_round + 1}; " if event.next_round else ""
    return (
        f"{start}{len(event.clients)} clients, {event.cohort_size} a round, {event.rounds} rounds; "
        f"exchanged parameters: {kinds}"
    )


def describe_round(event: RoundDone) -> str:
    """Cohort, training loss and validation score of a finished round."""
    record = event.record
    called = len(record["clients"]) + len(record["dropped"])
    answered = f"{len(record['clients'])} of {called}" if record["dropped"] else f"{called}"
    loss = "loss -" if record["loss"] is None else f"loss {record['loss']:.4f}"
    parts = [f"cohort {answered}", loss]
    if "unused" in record:
        parts.append(f"no step: {record['unused']}")
    if record["validation"] is not None:
        parts.append(f"validation {describe_score(record['validation'])}")
    return "  ".join(parts)


def describe_score(metrics: dict[str, dict[str, float]]) -> str:
    """The task's score, the first of its metrics: its mean over clients."""
    name, values = next(iter(metrics.items()))
    return f"{name} {values['mean']:.4f}"
