"""Ctrl-C as a request to stop, not an exception in the middle of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) sets the flag; a second Ctrl-C interrupts at once."""
    flag = threading.Event()

    def request_stop(signal_number: int, _frame: object) -> None:
        if flag.is_set() and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        flag.set()

    previous = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for signal_number, handler in previous.items():
            signal.signal(signal_number, handler)
