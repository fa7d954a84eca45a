"""Whatever a peer writes, in either direction: refused by a name and a field, never a traceback."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sites.in_process import (
    FACTS,
    NAMES,
    Bench,
    QuickSite,
    answers_of,
    connect,
    federation_of,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.errors import FedttError, SitesError, WireError
from fedtt.sites import exchange
from fedtt.sites import server_end as sites_module
from fedtt.sites.data_shares import Share
from fedtt.sites.frames import Frame, read_table
from fedtt.sites.message_schema import parse_asked, parse_reply
from fedtt.sites.site_worker import Worker

HELLO = {"do": "hello", "epoch": "1", "config": {}, "facts": FACTS}
ABSURD: list[Any] = [
    None, True, -1, 0, 1, 2**63, 10**99, -(10**99), 1e308, -1.5, float("nan"), float("inf"),
    "", "x", "\x1b[2J", "\ud800", "9" * 5000, "x" * 100_000, [], [[]], [[[[[[[]]]]]]], {},
    {"": {}}, {"do": "hello"}, [0] * 70_000, {str(i): i for i in range(1000)},
]  # fmt: skip
QUICK = settings(max_examples=100, suppress_health_check=list(HealthCheck))
Said = list[tuple[Frame, Frame]]


@pytest.fixture(autouse=True, scope="module")
def _short_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "PULL_EVERY", 0.001)
        patch.setattr(sites_module, "PULL_EVERY", 0.001)
        yield


@pytest.fixture(scope="module")
def config(config: RunConfig) -> RunConfig:
    sites = config.sites.model_copy(update={"patience": 0.001})
    return config.model_copy(update={"sites": sites})


@pytest.fixture(scope="module")
def said(
    make_config: Callable[..., RunConfig],
    config: RunConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Said:
    """What the server asked of the first site in an honest run, and what that answered."""
    workers = share_workers()
    heard: Said = []

    def listen(asked: Frame) -> Frame:
        reply = workers[1].answer(asked)
        heard.append((asked, reply))
        return reply

    bench = Bench({**answers_of(workers), 1: listen})
    patient = config.model_copy(update={"sites": make_config().sites})
    run_sites(patient, tmp_path_factory.mktemp("honest") / "run", bench)
    assert [asked.content["do"] for asked, _ in heard] == ["hello", "train", "measure", "end"]
    return heard


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a message, the message itself left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in inner:
        yield (*path, key)
        if isinstance(below, dict | list):
            yield from places(below, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn, content: dict[str, Any]) -> dict[str, Any]:
    """The message with a few places changed, left out, or added to."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(changed))
        if not found:
            break
        *path, last = draw(st.sampled_from(found[:2000]))
        table = changed
        for key in path:
            table = table[key]
        what = draw(st.sampled_from(["change", "leave out", "add"]))
        absurd = copy.deepcopy(draw(st.sampled_from(ABSURD)))
        if what == "change":
            table[last] = absurd
        elif what == "leave out":
            del table[last]
        elif isinstance(table, dict):
            table[draw(st.sampled_from(["more", "", "do", "session"]))] = absurd
        else:
            table.append(copy.deepcopy(table[last]))
    return changed


def spoiled_blobs(blobs: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([blobs, [], [b""], [b"x" * 100], [*blobs] * 2])


@QUICK
@given(data=st.data())
def test_what_a_server_says(said: Said, data: st.DataObject) -> None:
    """A site answers, or ends with an error that says why; it has no other way."""
    site = QuickSite(name=NAMES[0], data=Share(index=0, count=3))
    worker = Worker(site, tell=lambda _: None, should_stop=lambda: False)
    asked, _ = data.draw(st.sampled_from(said))
    content = asked.content
    if content["do"] in ("train", "measure"):
        content = {**content, "session": worker.answer(said[0][0]).content["session"]}
    spoilt = Frame(content=data.draw(spoiled(content)), blobs=data.draw(spoiled_blobs(asked.blobs)))
    reply = worker.answer(spoilt)
    json.dumps(reply.content)  # it can be sent
    parse_reply(reply.content, peer="a site")
    assert worker.problem is None or isinstance(worker.problem, FedttError)


def assert_harmless(news: list[str]) -> None:
    assert all("\x1b" not in line and len(line) < 5000 for line in news)


@QUICK
@given(data=st.data())
def test_what_a_site_says_when_it_joins(said: Said, config: RunConfig, data: st.DataObject) -> None:
    content = data.draw(spoiled(said[0][1].content))
    federation = federation_of(config)
    news: list[str] = []
    sites = connect(config, federation, Bench({1: lambda _: Frame(content=content)}), news=news)
    try:
        sites.gather(federation.initial, called=["north"])
    except SitesError:
        assert news
    assert_harmless(news)


@QUICK
@given(data=st.data())
def test_what_a_site_says_of_a_round(said: Said, config: RunConfig, data: st.DataObject) -> None:
    joined, (_, reply) = said[0][1], said[data.draw(st.sampled_from([1, 2]))]
    spoilt = Frame(
        content=data.draw(spoiled(reply.content)), blobs=data.draw(spoiled_blobs(reply.blobs))
    )
    federation = federation_of(config)
    news: list[str] = []
    bench = Bench({1: lambda frame: joined if frame.content["do"] == "hello" else spoilt})
    sites = connect(config, federation, bench, news=news)
    state = sites.gather(federation.initial, called=["north"])
    sites.measure(state, method=federation.method, splits=["test"])
    assert_harmless(news)


@given(text=st.binary(max_size=200), at=st.integers(0, 10**6), data=st.data())
def test_text_that_arrives_damaged(said: Said, text: bytes, at: int, data: st.DataObject) -> None:
    for frame in data.draw(st.sampled_from(said)):
        whole = json.dumps(frame.content).encode()
        cut = at % len(whole)
        try:
            content = read_table(whole[:cut] + text + whole[cut + len(text) :])
            parse_asked(content, blobs=[], peer="the server")
            parse_reply(content, peer="a site")
        except WireError:
            pass


@pytest.mark.parametrize(
    "text",
    [
        b'{"do": "end", "do": "end"}',
        b'{"do": NaN}',
        b'{"do": 1e999}',
        b'{"do": ' + b"9" * 5000 + b"}",
        b'{"do": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[]",
        b"\xff",
    ],
)
def test_text_that_is_no_message(text: bytes) -> None:
    with pytest.raises(WireError):
        read_table(text)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"do": "hello"}, "the server, hello.epoch"),
        ({**HELLO, "run": "../" * 10 + "up"}, "the server, hello.run"),
        ({"do": "dance"}, "the server, "),
        ({}, "the server, "),
        ({"do": "end", "more": 1}, "the server, end.more"),
        ({"do": "refuse", "reason": 7}, "the server, refuse.reason"),
    ],
)
def test_the_server_and_the_field_are_named(content: dict, where: str) -> None:
    with pytest.raises(WireError, match=rf"not what it should be\n  where: {where}"):
        parse_asked(content, blobs=[], peer="the server")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"round": -1}, "train.round"),
        ({"round": 10**400}, "train.round"),
        ({"seconds": float("nan")}, "train.seconds"),
        ({"learning_rate": 10**400}, "train.learning_rate"),
        ({"splits": ["train"]}, "train.splits.0"),
        ({"tasks": []}, "train.tasks"),
        ({"tasks": [["north", 0, 0]]}, "train.tasks.0"),
        ({"tasks": [{"client": "north", "position": 0, "payload": 1}]}, "payload of client north"),
        ({"tasks": [{"client": "north", "position": True, "payload": 0}]}, "tasks.0.position"),
    ],
)
def test_work_that_is_none_is_refused_by_its_field(said: Said, changes: dict, where: str) -> None:
    asked = said[1][0]
    with pytest.raises(WireError, match=where):
        parse_asked({**asked.content, **changes}, blobs=asked.blobs, peer="the server")
