"""What is shown of a run as it goes."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.progress import Progress

from fedtt.cli.progress import LiveLine, PlainLines, describe_round, describe_start
from fedtt.experiment.events import BaselineRoundDone, RoundDone, RunPrepared, TrainingDone


def test_a_resumed_run_goes_on_counting_what_was_sent() -> None:
    screen = io.StringIO()
    lines = PlainLines(Console(file=screen, width=200))
    lines(
        RunPrepared(
            rounds=5,
            next_round=3,
            clients=("a",),
            cohort_size=1,
            alone=False,
            exchanged_parameters={"cores": 1},
            sent_bytes=3_000_000,
            notes=(),
        )
    )
    record = {
        "round": 3,
        "loss": 0.5,
        "validation": None,
        "uplink_bytes": 600_000,
        "downlink_bytes": 400_000,
        "seconds": 2.0,
        "clients": {"a": {}},
        "dropped": {},
    }
    lines(RoundDone(record=record, rounds=5))
    first, second = screen.getvalue().splitlines()
    assert first.startswith("resumed at round 4; 1 clients")
    assert "sent 4 MB" in second


def prepared(*, rounds: int, alone: bool) -> RunPrepared:
    return RunPrepared(
        rounds=rounds,
        next_round=0,
        clients=("a", "b"),
        cohort_size=2,
        alone=alone,
        exchanged_parameters={"cores": 1},
        sent_bytes=0,
        notes=(),
    )


def test_of_a_run_whose_rounds_are_done_none_is_announced() -> None:
    done = replace(prepared(rounds=5, alone=False), next_round=5)
    assert describe_start(done).startswith("no round was left to do; 2 clients")


def baseline(client_id: str, number: int, round_index: int, *, rounds: int) -> BaselineRoundDone:
    return BaselineRoundDone(
        client_id=client_id,
        number=number,
        clients=2,
        round_index=round_index,
        rounds=rounds,
        loss=0.25,
        seconds=2.0,
    )


def test_the_end_of_training_says_the_score_and_baselines_count_their_rounds() -> None:
    screen = io.StringIO()
    lines = PlainLines(Console(file=screen, width=200))
    lines(prepared(rounds=2, alone=True))
    lines(TrainingDone(rounds=2, validation={"accuracy": {"mean": 0.75, "a": 0.75}}))
    for number, client_id in enumerate(("a", "b"), start=1):
        for round_index in range(2):
            lines(baseline(client_id, number, round_index, rounds=2))
    _, end, *baselines = screen.getvalue().splitlines()
    assert end.startswith("training done: 2 rounds  validation accuracy 0.7500  next: each client")
    assert baselines == [
        "baseline 1/2: a alone  round   1/2  loss 0.2500  2.0 s  left 6s",
        "baseline 1/2: a alone  round   2/2  loss 0.2500  2.0 s  left 4s",
        "baseline 2/2: b alone  round   1/2  loss 0.2500  2.0 s  left 2s",
        "baseline 2/2: b alone  round   2/2  loss 0.2500  2.0 s  left 0s",
    ]


@pytest.mark.parametrize(("rounds", "shown"), [(1, 1), (10, 10), (13, 10), (1000, 10)])
def test_a_long_baseline_fills_no_screen(rounds: int, shown: int) -> None:
    screen = io.StringIO()
    lines = PlainLines(Console(file=screen, width=200))
    for round_index in range(rounds):
        lines(baseline("a", 1, round_index, rounds=rounds))
    written = screen.getvalue().splitlines()
    assert len(written) == shown
    assert f"{rounds}/{rounds}" in written[-1]


def test_without_baselines_and_validation_training_is_just_done() -> None:
    screen = io.StringIO()
    lines = PlainLines(Console(file=screen, width=200))
    lines(prepared(rounds=2, alone=False))
    lines(TrainingDone(rounds=2, validation=None))
    assert screen.getvalue().splitlines()[-1] == "training done: 2 rounds"


def test_the_live_line_counts_the_baselines_that_were_done_before() -> None:
    """Resumed in b's baseline: the two rounds of a, which took no step here, count as done."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console=terminal) as progress:
        live = LiveLine(terminal, progress)
        live(prepared(rounds=2, alone=True))
        live(baseline("b", 2, 0, rounds=2))
        (task,) = progress.tasks
        assert (task.completed, task.total) == (2 * 2 + 2 + 1, 2 * (2 + 2))


def test_the_live_line_goes_on_with_rounds_whose_steps_nobody_is_told() -> None:
    """A private round: no step before it, a cohort of another size than is expected."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    spent = {"epsilon": 1.23456, "delta": 1e-5}
    record = {
        "round": 1,
        "loss": None,
        "validation": None,
        "uplink_bytes": 0,
        "downlink_bytes": 0,
        "seconds": 2.0,
        "clients": {"0": {}, "1": {}, "2": {}},
        "dropped": {},
        "privacy": spent,
    }
    with Progress(console=terminal) as progress:
        live = LiveLine(terminal, progress)
        live(prepared(rounds=4, alone=False))
        live(RoundDone(record=record, rounds=4))
        (task,) = progress.tasks
        assert (task.completed, task.total) == (2 * 2, 4 * 2)
    assert describe_round(RoundDone(record=record, rounds=4)) == (
        "cohort 3  loss -  epsilon 1.235 (delta 1e-05)"
    )
