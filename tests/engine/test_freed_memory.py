"""A step's memory is the next one's, and not the system's in between."""

import os
import subprocess
import sys

import pytest

from fedtt.engine.freed_memory import keep_freed_memory

STEPS = """
import resource
from fedtt.engine.freed_memory import keep_freed_memory

{keep}

def step():
    return len([b"x" * 2**22 for _ in range(64)])  # activations

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

step()
step()
before = faults()
for _ in range(4):
    step()
print((faults() - before) // 4)
"""


def faults_a_step(keep: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(keep=keep)],
        env={name: value for name, value in os.environ.items() if "MALLOC" not in name.upper()},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout)


def test_a_step_asks_for_no_pages_that_the_last_one_had() -> None:
    if sys.platform != "linux":
        pytest.skip("glibc alone is told")
    given_back, kept = faults_a_step(""), faults_a_step("assert keep_freed_memory()")
    if given_back < 1000:
        pytest.skip("this system hands out memory in large pages")
    assert kept < given_back / 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())

    assert not keep_freed_memory()
