"""What is shown of a run as it goes."""

import io

from rich.console import Console

from fedtt.cli.progress import PlainLines
from fedtt.experiment.events import RoundDone, RunPrepared


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
