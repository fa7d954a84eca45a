"""Sites without processes: what Flower would carry goes through a list, a message at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedtt.config import RunConfig
from fedtt.data.holdings import Held, Parts
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.fingerprint import digest_of_start
from fedtt.experiment import create_run, open_run, run_with_sites
from fedtt.sites.carrier import CarriedReply
from fedtt.sites.data_shares import Share
from fedtt.sites.exchange import Hooks
from fedtt.sites.frames import Frame
from fedtt.sites.opened_sites import open_sites
from fedtt.sites.server_end import Sites
from fedtt.sites.site_data import SiteData
from fedtt.sites.site_worker import Worker

Answer = Callable[[Frame], Frame | None]
NAMES = ("site-0", "site-1", "site-2")


@dataclass
class Bench:
    """A carrier: ``answers`` has what each node says; None is no answer, ever."""

    answers: dict[int, Answer] = field(default_factory=dict)
    pending: dict[str, tuple[int, Frame]] = field(default_factory=dict)
    sent: list[tuple[int, Frame]] = field(default_factory=list)

    def nodes(self) -> Sequence[int]:
        return sorted(self.answers)

    def push(self, node: int, frame: Frame, *, seconds: float, group: str) -> str:
        self.sent.append((node, frame))
        message = f"message-{len(self.sent)}"
        self.pending[message] = (node, frame)
        return message

    def pull(self, message_ids: Iterable[str], *, limit: int) -> list[CarriedReply]:
        replies = []
        for message in [m for m in message_ids if m in self.pending]:
            node, frame = self.pending[message]
            answer = self.answers[node](frame) if node in self.answers else None
            if answer is None:
                continue
            del self.pending[message]
            if sum(map(len, answer.blobs)) > limit:
                replies.append(CarriedReply(message_id=message, node=node, refused="too large"))
            else:
                replies.append(CarriedReply(message_id=message, node=node, frame=answer))
        return replies


_built: dict[str, Federation] = {}
# Facts that parse, of no federation.
FACTS = {
    "fedtt": "1",
    "method": "fedtt",
    "label_names": [],
    "exchanged": {},
    "base_model": "0",
    "frozen": {},
}


def federation_of(config: RunConfig) -> Federation:
    """Built once a config: whoever takes a turn on its model writes all that it reads first."""
    key = config.model_dump_json()
    if key not in _built:
        _built[key] = build_federation(config)
    return _built[key]


class QuickSite(SiteData):
    """A site that shares what it builds with the others; sites as processes do not."""

    def build(self, config: RunConfig) -> Federation:
        return federation_of(config)


def make_worker(name: str, share: Share, *, kind: type[SiteData] = QuickSite) -> Worker:
    site = kind(name=name, data=share)
    return Worker(site, tell=lambda _line: None, should_stop=lambda: False)


class StrangeSite(SiteData):
    """A site whose torch draws other parameters to begin with than the server's."""

    def build(self, config: RunConfig) -> Federation:
        federation = build_federation(config)
        other = {
            name: tensor + 1 if "core" in name else tensor
            for name, tensor in federation.initial.params.items()
        }
        start = digest_of_start(other)
        return replace(federation, initial=replace(federation.initial, params=other, start=start))


def share_workers() -> dict[int, Worker]:
    """One worker for each third of the run's own data, by node."""
    return {
        index + 1: make_worker(name, Share(index=index, count=len(NAMES)))
        for index, name in enumerate(NAMES)
    }


def answers_of(workers: dict[int, Worker]) -> dict[int, Answer]:
    return {node: worker.answer for node, worker in workers.items()}


def expected_shares(federation: Federation) -> dict[str, tuple[str, ...]]:
    return {
        name: Share(index=index, count=len(NAMES)).of(federation.population)
        for index, name in enumerate(NAMES)
    }


def connect(
    config: RunConfig,
    federation: Federation,
    bench: Bench,
    *,
    news: list[str],
    expected: dict[str, tuple[str, ...]] | None = None,
    names: dict[int, str] | None = None,
    population: Sequence[str] | None = None,
    run_id: str = "0" * 32,
) -> Sites:
    """The server's end, with the bench for Flower."""
    expected = expected or expected_shares(federation)
    if population is not None:
        nobody = Parts.in_turn(dict.fromkeys(population, 0))
        held = federation.splits["train"]
        splits = {**federation.splits, "train": Held(held.pool, nobody)}
        federation = replace(federation, splits=splits)

    def tell(site: str, what: str) -> None:
        news.append(f"{site}: {what}")

    return open_sites(
        config,
        federation,
        bench,
        run_id=run_id,
        names=names,
        expected=expected,
        hooks=Hooks(tell=tell, check=lambda: None, on_wait=lambda *_: None),
    )


def run_sites(
    config: RunConfig,
    path: Path,
    bench: Bench,
    *,
    news: list[str] | None = None,
    on_round: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """The run at ``path``, new or taken up, with the bench's nodes; ``on_round`` after a round."""
    federation = federation_of(config)
    directory = open_run(path) if path.exists() else create_run(path, config, overwrite=False)
    sites = connect(
        config, federation, bench, news=[] if news is None else news, run_id=directory.run_id()
    )

    def notify(event: object) -> None:
        record = getattr(event, "record", None)
        if record is not None:
            on_round(record["round"])

    summary = run_with_sites(config, federation, directory, sites, notify=notify)
    sites.close()
    return summary
