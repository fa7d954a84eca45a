"""A tracker from outside: one file, and one row (``TRACKERS.register``)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedtt.experiment.events import Event, RoundDone, RunDone


@contextmanager
def loss_table(directory: Path, config: dict[str, Any]) -> Iterator[Callable[[Event], None]]:
    """A line a round in ``losses.txt``, and the score below."""
    with (directory / "losses.txt").open("a", encoding="utf-8") as file:
        file.write(f"{config['method']['name']}\n")

        def follow(event: Event) -> None:
            match event:
                case RoundDone(record=record):
                    file.write(f"{record['round']} {record['loss']}\n")
                case RunDone(summary=summary):
                    file.write(f"{summary['score']['name']}\n")

        yield follow
        file.write("closed\n")
