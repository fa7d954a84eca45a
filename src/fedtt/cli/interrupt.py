"""Ctrl-C as a request to stop, not an exception in the middle of a step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fedtt.errors import InterruptedRunError

NOTICES = {
    signal.SIGINT: b"\nstopping after this step; Ctrl-C again to stop now\n",
    signal.SIGTERM: b"\nstopping after this step, as SIGTERM asks; SIGKILL to stop now\n",
}
STDERR = 2


@contextmanager
def interrupt_flag() -> Iterator[threading.Event]:
    """The first Ctrl-C (or SIGTERM) sets the flag and says so; the next Ctrl-C interrupts."""
    flag = threading.Event()

    def request_stop(signal_number: int, _frame: object) -> None:
        if flag.is_set():
            if signal_number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        flag.set()
        # Past Python's buffers, in which the signal may have interrupted another write.
        os.write(STDERR, NOTICES[signal.Signals(signal_number)])

    previous = {s: signal.signal(s, request_stop) for s in NOTICES}
    try:
        yield flag
    finally:
        for signal_number, handler in previous.items():
            signal.signal(signal_number, handler)


def stop_if_asked(flag: threading.Event, *, fix: str) -> None:
    """Raise :class:`InterruptedRunError` once the flag is set."""
    if flag.is_set():
        raise InterruptedRunError("stopped on request", where="before the first step", fix=fix)
