"""However many sites there are, few of their messages and replies are in memory at once."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pytest
from tests.sites.in_process import Bench, connect, federation_of

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.federated.round import ClientTask, FailedReply
from fedtt.sites import exchange
from fedtt.sites import server_end as sites_module
from fedtt.sites.carrier import CarriedReply
from fedtt.sites.frames import Frame
from fedtt.sites.message_schema import Joined, Outcome
from fedtt.sites.reply_store import ReplyStore

SITES, SIZE = 60, 10**6


@dataclass
class Streaming(Bench):
    """A bench whose replies come one after the other, as over a network."""

    def pull(self, message_ids: Iterable[str], *, limit: int) -> Iterator[CarriedReply]:  # type: ignore[override]
        for message in message_ids:
            yield from super().pull([message], limit=limit)


def test_neither_broadcasts_nor_replies_are_all_held(
    job: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PULL_EVERY", 0.001)
    monkeypatch.setattr(sites_module, "PULL_EVERY", 0.001)
    config = job(sites={"deadline": 60, "patience": 60})
    federation = federation_of(config)
    names = [f"site-{index}" for index in range(SITES)]

    def answer(name: str) -> Callable[[Frame], Frame]:
        joined = Joined(
            site=name, session="s", start="same", num_examples={name: 5}, label_cells=None
        )

        def say(asked: Frame) -> Frame:
            if asked.content["do"] == "hello":
                return Frame(content=joined.model_dump())
            assert len(asked.blobs[0]) == SIZE
            return Frame(content=Outcome(metrics={}).model_dump(), blobs=[bytes(SIZE)])

        return say

    bench = Streaming({index: answer(name) for index, name in enumerate(names)})
    news: list[str] = []
    expected = {name: (name,) for name in names}
    sites = connect(config, federation, bench, news=news, expected=expected, population=names)
    sites.gather(federation.initial, called=names)

    def tasks() -> Iterator[ClientTask]:
        for name in names:
            yield ClientTask(
                round_index=0, client_id=name, payload=bytes(SIZE), structure={}, learning_rate=0.1
            )

    tracemalloc.start()
    replies = sites.round([])(tasks())  # nothing of that size is an update, said one by one
    with pytest.raises(SitesError, match=f"too few clients answered[\\s\\S]*0 of {SITES}"):
        assert all(isinstance(reply, FailedReply) for reply in replies)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum("its reply is refused" in line for line in news) == SITES
    assert most < 2 * 2**24 + 4 * SIZE  # of 120 million bytes, in the two directions


def test_what_is_stored_is_taken_in_any_order() -> None:
    blobs = [bytes([index]) * (2**20 * index) for index in range(8)]  # more than stays in memory
    with ReplyStore() as store:
        places = store.keep(blobs[:3]) + store.keep(blobs[3:])
        for index in (7, 0, 3, 3, 1):
            assert store.take(places[index]) == blobs[index]
