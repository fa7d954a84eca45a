"""Processes end with whoever started them, also where that one is gone already."""

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedtt.engine.flower import ending, processes


def test_a_process_learns_from_its_starter_whose_end_is_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who asks for its parent only after its imports may find who inherited it."""
    given: dict[str, str] = {}

    def popen(_argv: Sequence[str], *, env: dict[str, str], **_: object) -> None:
        given.update(env)

    monkeypatch.setattr(subprocess, "Popen", popen)
    processes.start("child", ["child"], log=tmp_path / "log", env={"HOME": "/nowhere"})
    assert given == {"HOME": "/nowhere", ending.STARTER: str(os.getpid())}
    monkeypatch.setenv(ending.STARTER, given[ending.STARTER])
    assert ending.starter() == os.getpid()
    assert ending.STARTER not in os.environ  # a child of its own has another parent
    assert ending.starter() == os.getppid()


def test_a_process_whose_starter_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Now:
        """A thread that runs at once."""

        def __init__(self, *, target: Callable[[], None], daemon: bool) -> None:
            self.start = target

    done: list[object] = []
    monkeypatch.setenv(ending.STARTER, str(os.getpid()))  # not the parent of this process
    monkeypatch.setattr(ending.threading, "Thread", Now)
    monkeypatch.setattr(ending.os, "kill", lambda *what: done.append(what))
    monkeypatch.setattr(ending, "end_soon", lambda: done.append("soon"))
    ending.end_with_parent()
    assert done == [(os.getpid(), signal.SIGTERM), "soon"]
