"""What a site writes is trouble for its own reply only, however it is written."""

import contextlib
import gc
import json
import socket
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from flwr.app import ConfigRecord, RecordDict

from fedtt.errors import WireError
from fedtt.sites.carrier import CarriedReply
from fedtt.sites.flower import relay as relay_module
from fedtt.sites.flower import server_app
from fedtt.sites.flower.flower_message import RECORD, from_record, to_record
from fedtt.sites.flower.relay import MAX_TEXT, Relay
from fedtt.sites.frames import MAX_DEPTH, Frame, read_table, receive_frame, send_frame

HONEST = Frame(content={"metrics": {"test": {}}}, blobs=[b"update"])
HALF = MAX_TEXT // 2


def written(text: str, *blobs: bytes) -> RecordDict:
    return RecordDict({RECORD: ConfigRecord({"content": text, "blobs": list(blobs)})})


def nested(depth: int) -> str:
    return '{"a":' + "[" * depth + "]" * depth + "}"


HOSTILE = {
    "deep": written(nested(980)),
    "deeper": written(nested(10**5)),
    "no JSON": written("{" * 1000),
    "too long": written(json.dumps({"a": "x" * MAX_TEXT})),
    "too long in UTF-8": written('{"a": "' + "é" * (MAX_TEXT - 100) + '"}'),
    "a huge name": RecordDict({"x" * 2**20: ConfigRecord({})}),
    "too many blobs": written("{}", *[b""] * 10**5),
    "a number too long": written('{"a": ' + "9" * 10**5 + "}"),
}


def carried(replies: dict[str, RecordDict | str], *, limit: int = 100) -> dict[str, CarriedReply]:
    """These replies, through the server app and its socket; text is an error of Flower's."""
    messages = {
        name: SimpleNamespace(
            metadata=SimpleNamespace(reply_to_message_id=name, src_node_id=7),
            has_error=lambda said=said: isinstance(said, str),
            error=SimpleNamespace(reason=said, code=0),
            content=said,
        )
        for name, said in replies.items()
    }
    grid = SimpleNamespace(pull_messages=lambda ids: [messages[i] for i in ids if i in messages])
    mailbox = server_app.Mailbox(grid)  # type: ignore[arg-type]
    one, other = socket.socketpair()

    def serve() -> None:
        with contextlib.suppress(OSError, WireError):  # the line is closed
            while True:
                asked = receive_frame(other, limit=0)
                send_frame(other, server_app.handle(grid, mailbox, asked))  # type: ignore[arg-type]

    found: list[CarriedReply] = []
    with one, other:
        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(len(messages)):  # what is much comes in several answers
            heard = {reply.message_id for reply in found}
            found += Relay(one).pull([i for i in messages if i not in heard], limit=limit)
        one.shutdown(socket.SHUT_RDWR)
        thread.join()
    return {reply.message_id: reply for reply in found}


class Said:
    """A reply that can be seen to be gone."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_refused_and_the_others_heard(kind: str) -> None:
    found = carried({"first": to_record(HONEST), "bad": HOSTILE[kind], "last": to_record(HONEST)})
    assert found["first"].frame == found["last"].frame == HONEST
    assert found["bad"].frame is None
    assert found["bad"].refused is not None
    assert len(found["bad"].refused) < 1000


def test_replies_that_grow_when_written_again_do_not_grow() -> None:
    """DEL takes six bytes where JSON is written in ASCII; together they would be 16 * 12 MiB."""
    table = {"a": "\x7f" * HALF}
    text = json.dumps(table, ensure_ascii=False)
    count = relay_module.REPLIES_AT_ONCE
    found = carried({str(index): written(text) for index in range(count)})
    assert len(found) == count
    assert all(reply.frame == Frame(content=table, blobs=[]) for reply in found.values())


def test_what_flower_says_of_a_site_is_cut_short() -> None:
    found = carried({"bad": "\x1b" + "x" * 10**6})
    assert found["bad"].error is not None
    assert "\x1b" not in found["bad"].error
    assert len(found["bad"].error) < 1000


def test_how_deep_a_table_may_be() -> None:
    assert read_table(nested(MAX_DEPTH - 1).encode())
    for depth in (MAX_DEPTH, 900, 10**6):
        with pytest.raises(WireError):
            read_table(nested(depth).encode())


def test_a_worker_s_message_is_as_shallow() -> None:
    with pytest.raises(WireError, match="nested too deep"):
        from_record(written(nested(MAX_DEPTH)), limit=0)


def test_no_reply_of_many_sites_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come late and all at once, and are asked for in several requests, as the relay does."""
    monkeypatch.setattr(server_app, "PATIENCE", 0.0)
    come = threading.Event()
    given: set[str] = set()

    def pull_messages(message_ids: list[str]) -> list[str]:
        come.wait(60)
        fresh = [i for i in message_ids if i not in given]
        given.update(fresh)  # Flower gives a reply away once
        return fresh

    mailbox = server_app.Mailbox(SimpleNamespace(pull_messages=pull_messages))  # type: ignore[arg-type]
    ids = [f"message-{index}" for index in range(200)]
    for start in range(0, len(ids), 20):
        assert mailbox.pull(ids[start : start + 20]) == []
    come.set()
    until = time.monotonic() + 10
    while len(given) < len(ids) and time.monotonic() < until:
        time.sleep(0.01)
    heard: list[str] = []
    while len(heard) < len(ids) and time.monotonic() < until:
        for start in range(0, len(ids), 20):
            heard += mailbox.pull(ids[start : start + 20])  # type: ignore[arg-type]
    assert sorted(heard) == sorted(ids)


def test_a_reply_that_nobody_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "PATIENCE", 0.0)
    monkeypatch.setattr(server_app, "FORGOTTEN", 0.01)
    come = threading.Event()
    kept: weakref.WeakSet[Said] = weakref.WeakSet()

    def pull_messages(_ids: list[str]) -> list[Said]:
        come.wait(60)
        said = Said()
        kept.add(said)
        return [said]

    mailbox = server_app.Mailbox(SimpleNamespace(pull_messages=pull_messages))  # type: ignore[arg-type]
    mailbox.pull(["old"])
    come.set()
    until = time.monotonic() + 10
    while not kept and time.monotonic() < until:
        time.sleep(0.001)
    while kept and time.monotonic() < until:
        time.sleep(0.02)
        mailbox.pull([])
        gc.collect()
    assert not kept
