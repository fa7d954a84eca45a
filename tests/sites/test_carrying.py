"""Frames, messages and versions: what is between server and site."""

import json
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import FedttError, WireError
from fedtt.sites.flower import server_app
from fedtt.sites.flower import version as version_module
from fedtt.sites.flower.flower_message import RECORD, from_record, to_record
from fedtt.sites.flower.version import check_flower, is_tested
from fedtt.sites.frames import Frame, receive_frame, send_frame

TABLES = st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=4)
BLOBS = st.lists(st.binary(max_size=100), max_size=4)


def test_the_flower_that_is_installed_is_a_tested_one() -> None:
    """Where this fails: read Flower's changes, run the slow tests of tests/sites, widen OLDEST."""
    found = version("flwr")
    assert is_tested(found), f"flwr {found} is untested with fedtt: see sites/flower/version.py"


@pytest.mark.parametrize("found", ["1.40.2", "1.43.0", "2.0.0", "0.41", "1", "", "nightly.1"])
def test_an_untested_flower_is_refused(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(version_module, "version", lambda _: found)
    with pytest.raises(FedttError, match=rf"untested with fedtt\n  got: flwr {found}\n  expected"):
        check_flower()


def test_no_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise version_module.PackageNotFoundError(name)

    monkeypatch.setattr(version_module, "version", missing)
    with pytest.raises(FedttError, match=r"not installed[\s\S]*pip install 'fedtt\[flower\]'"):
        check_flower()


@given(TABLES, BLOBS)
def test_a_frame_comes_out_as_it_went_in(table: dict, blobs: list[bytes]) -> None:
    one, other = socket.socketpair()
    with one, other:
        send_frame(one, Frame(content=table, blobs=blobs))
        assert receive_frame(other, limit=400) == Frame(content=table, blobs=blobs)


@given(TABLES, BLOBS)
def test_a_message_comes_out_as_it_went_in(table: dict, blobs: list[bytes]) -> None:
    frame = Frame(content=table, blobs=blobs)
    assert from_record(to_record(frame), limit=400) == frame


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"\xff\xff\xff\xff", "impossible length"),
        (b"\x00\x00\x00\x00", "impossible length"),
        (b"\x00\x00\x00\x04nope", "cannot be read"),
        (b"\x00\x00\x00\x02[]", "cannot be read"),
        (b"\x00\x00\x00\x1e" + b'{"content": 1,   "sizes": []  }'[:30], "cannot be read|no table"),
    ],
)
def test_what_is_no_frame(sent: bytes, message: str) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(sent)
        one.shutdown(socket.SHUT_WR)
        with pytest.raises(WireError, match=message):
            receive_frame(other, limit=10)


@pytest.mark.parametrize("sizes", [[11], [5, 6], [-1], ["1"], [True], 3, [2**60]])
def test_sizes_are_checked_before_anything_is_read(sizes: object) -> None:
    text = json.dumps({"content": {}, "sizes": sizes}).encode()
    one, other = socket.socketpair()
    with one, other:
        one.sendall(len(text).to_bytes(4, "big") + text)
        with pytest.raises(WireError, match=r"too large|no table with sizes"):
            receive_frame(other, limit=10)


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord({"content": "{}", "blobs": []})}),
        RecordDict({RECORD: MetricRecord({"content": 1.0})}),
        RecordDict({RECORD: ArrayRecord()}),
        RecordDict({RECORD: ConfigRecord({"content": 7, "blobs": []})}),
        RecordDict({RECORD: ConfigRecord({"content": "{}", "blobs": ["text"]})}),
        RecordDict({RECORD: ConfigRecord({"content": "{}", "blobs": b"bytes"})}),
        RecordDict({RECORD: ConfigRecord({"content": "[]", "blobs": []})}),
        RecordDict({RECORD: ConfigRecord({"content": "{", "blobs": []})}),
        RecordDict({RECORD: ConfigRecord({"content": "[" * 10**6, "blobs": []})}),
        RecordDict({RECORD: ConfigRecord({"content": "{}", "blobs": [bytes(11)]})}),
        RecordDict({RECORD: ConfigRecord({"content": "{}"})}),
    ],
)
def test_what_is_no_message_of_ours(content: RecordDict) -> None:
    with pytest.raises(WireError):
        from_record(content, limit=10)


@pytest.mark.parametrize("module", ["client_app", "server_app", "launch", "fence"])
def test_flower_s_processes_load_no_torch(module: str) -> None:
    """A new one is started for every message."""
    code = f"import sys, fedtt.sites.flower.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Grid:
    """Flower's grid, of which one message never comes, as where a node announces and sends none."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.given: set[str] = set()

    def pull_messages(self, message_ids: list[str]) -> list[str]:
        (message_id,) = message_ids
        assert message_id not in self.given
        if message_id == "stuck":
            self.released.wait(60)
        if message_id == "none yet":
            return []
        self.given.add(message_id)  # Flower gives a reply away once
        return [message_id]


def test_a_reply_that_never_comes_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "PATIENCE", 0.2)
    grid = Grid()
    mailbox = server_app.Mailbox(grid)  # type: ignore[arg-type]
    found = mailbox.pull(["first", "stuck", "none yet", "second"])
    assert found == ["first", "second"]
    assert mailbox.pull(["stuck", "none yet"]) == []
    grid.released.set()
    deadline = time.monotonic() + 30
    while not (late := mailbox.pull(["stuck"])) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert late == ["stuck"]
