"""What others can write into logs and onto terminals: bounded, escaped, no lines of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.sites import bounded_log
from fedtt.sites.flower.child_processes import start
from fedtt.sites.peer_text import CONTINUED, MOST, escape_line, quote_peer


def logged(code: str, log: Path) -> list[str]:
    """The lines of the log of a process that runs the code."""
    child = start("child", [sys.executable, "-c", code], log=log, env=dict(os.environ))
    child.process.wait(60)
    child.stop()
    return log.read_text().splitlines()


def test_a_log_is_what_the_process_wrote(tmp_path: Path) -> None:
    code = "import sys; print('one'); print('\\x1b[92mtwo\\x1b[0m', file=sys.stderr)"
    assert sorted(logged(code, tmp_path / "log")) == ["one", "two"]


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    code = "print('up\\x1b[2Jgone\\rforged\\x07\\u202e')"
    assert logged(code, tmp_path / "log") == [r"up\x1b[2Jgone\rforged\x07\u202e"]


def test_who_floods_a_log_does_not_fill_the_disk_and_hides_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_log, "LARGEST", 20_000)
    code = "for i in range(200_000): print('flood', i)\nprint('the reason why it ended')"
    lines = logged(code, tmp_path / "log")
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 20_000
    assert lines[-1] == "the reason why it ended"
    assert any("lines left out" in line for line in lines)


def test_a_message_that_is_logged_is_one_line() -> None:
    code = """
import logging, sys
from fedtt.sites.peer_text import guard_log_messages
guard_log_messages()
logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stdout, level=logging.INFO)
logging.info("asks for %s", "x\\nINFO: forged" + "y" * 10**6)
try:
    raise ValueError("z\\nINFO: forged too")
except ValueError:
    logging.exception("failed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line[:25] for line in lines if not line.startswith("  | ")] == [
        r"INFO: asks for x\nINFO: f", "ERROR: failed",
    ]  # fmt: skip
    assert "  | INFO: forged too" in lines
    assert max(map(len, lines)) < 2 * MOST


@given(st.text())
def test_what_a_peer_says_is_short_and_its_lines_are_marked(text: str) -> None:
    quoted = quote_peer(text)
    assert len(quoted) <= MOST * len(CONTINUED)
    assert all(line.isprintable() for line in quoted.split("\n"))
    assert all(line.startswith("  | ") for line in quoted.split("\n")[1:])
    assert quote_peer(quoted) == quoted or len(quoted) > MOST or quoted != quoted.strip()
    assert escape_line(text).isprintable()
