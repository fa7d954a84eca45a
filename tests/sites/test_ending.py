"""Processes end with whoever started them, also where that one is gone already."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.sites.federation import all_gone

from fedtt.sites.flower.child_processes import start
from fedtt.sites.flower.process_ending import STARTER

ENDING = "from fedtt.sites.flower.process_ending import end_with_parent, starter\n"


def test_a_process_learns_from_its_starter_whose_end_is_its_own(tmp_path: Path) -> None:
    """Who asks for its parent only after its imports may find who inherited it."""
    code = ENDING + (
        "import json, os\n"
        f"print(json.dumps([starter(), {STARTER!r} in os.environ, starter() == os.getppid()]))"
    )
    child = start("child", [sys.executable, "-c", code], log=tmp_path / "log", env=dict(os.environ))
    child.process.wait(60)
    child.stop()
    # A child of its own has another parent, so the name is out of the environment.
    assert json.loads((tmp_path / "log").read_text()) == [os.getpid(), False, True]


def test_a_process_whose_starter_is_gone_ends() -> None:
    code = ENDING + "end_with_parent()\nimport time; time.sleep(600)"
    env = {**os.environ, STARTER: "1"}  # not the parent of this process: as if that had ended
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    assert process.wait(60) == -15


def test_it_ends_though_a_thread_of_its_own_does_not(tmp_path: Path) -> None:
    """As Flower's do, for two hours."""
    code = (
        "import fedtt.sites.flower.process_ending as ending, os, signal, sys, threading, time\n"
        "ending.GRACE = 0.5\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "ending.end_with_parent()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(600)"
    )
    starter = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {code!r}], stdout=sys.stdout,"
        f" env={{**os.environ, {STARTER!r}: str(os.getpid())}})\n"
        "import time; time.sleep(600)"
    )
    out = tmp_path / "out"
    with out.open("wb") as file:
        parent = subprocess.Popen([sys.executable, "-c", starter], stdout=file)
    try:
        deadline = time.monotonic() + 60
        while not (text := out.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    all_gone({int(text)}, seconds=60)
