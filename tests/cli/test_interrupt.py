import os
import signal

import pytest

from fedtt.cli.interrupt import interrupt_flag, stop_if_asked
from fedtt.errors import InterruptedRunError


def test_the_first_signal_asks_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupt_flag() as stop:
        stop_if_asked(stop, fix="none needed")
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(InterruptedRunError, match="before the first step"):
            stop_if_asked(stop, fix="start again")
    message = capfd.readouterr().err
    assert message == "\nstopping after this step; Ctrl-C again to stop now\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_second_ctrl_c_interrupts_and_a_second_term_does_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with interrupt_flag():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    message = capfd.readouterr().err
    assert message == "\nstopping after this step, as SIGTERM asks; SIGKILL to stop now\n"
