"""The server's end of a federation of sites: carries a round's tasks, and brings back replies.

The round itself is :func:`fedtt.federated.round.run_round`. Nothing here waits without a bound.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fedtt.config import SitesConfig
from fedtt.data import SHARED
from fedtt.engine.flower.frames import Frame
from fedtt.engine.flower.relay import Carrier, Reply
from fedtt.engine.flower.replies import SiteMetrics, check_metrics, check_updates
from fedtt.engine.flower.roster import PresentSite, Roster, Tell, shown
from fedtt.errors import SitesError, WireError
from fedtt.federated.methods import Method
from fedtt.federated.round import ClientTask, tasks_of
from fedtt.federated.types import ServerState

OnWait = Callable[[int, int, int, float], None]  # round, answered, asked, seconds left
LOOK_EVERY = 1.0
PULL_EVERY = 0.2
ASK_AGAIN = 30.0  # seconds until a message is sent again, then twice as long, and so on
GOODBYE = 10.0  # seconds for the sites to hear that the run is over
SLACK = 60.0  # a message lives that much longer than anybody waits for its answer

T = TypeVar("T")


class Sites:
    """The sites of a run. ``expected`` maps each to its clients, ``population`` is all of them in
    the run's order, and ``limit`` the most bytes of a reply.

    ``check`` may raise to end a wait early; it is called several times a second.
    """

    def __init__(
        self,
        carrier: Carrier,
        roster: Roster,
        *,
        config: SitesConfig,
        expected: Mapping[str, Sequence[str]],
        population: Sequence[str],
        limit: int,
        tell: Tell,
        check: Callable[[], None],
        on_wait: OnWait,
    ) -> None:
        self._carrier, self._roster = carrier, roster
        self._config = config
        self._expected = expected
        self._positions = {client: index for index, client in enumerate(population)}
        self._site_of = {client: name for name, own in expected.items() for client in own}
        self._limit = limit
        self._tell, self._check, self._on_wait = tell, check, on_wait
        self._started = False
        self._heard: dict[str, str] = {}  # client -> the session of its site that was heard last

    def gather(self, state: ServerState, *, cohort_size: int) -> ServerState:
        """Wait for sites; the state, without what a site that started afresh does not know.

        At first all are waited for, for as long as patience lasts, later as many as a round needs.
        Raises :class:`SitesError` for too few.
        """
        needed = self.needed(cohort_size)
        deadline = time.monotonic() + self._config.patience
        while True:
            self._check()
            self._roster.look()
            here = self._clients_here()
            complete = len(here) == len(self._site_of)
            late = time.monotonic() >= deadline
            if complete or (len(here) >= needed and (self._started or late)):
                break
            if late:
                raise SitesError(
                    "too few sites joined",
                    got=f"{len(here)} clients after {self._config.patience:.0f} s",
                    expected=f"{needed} of {len(self._site_of)}",
                    fix="start the other sites, and go on with --resume",
                )
            time.sleep(PULL_EVERY)
        self._started = True
        synced = {
            c: at for c, at in state.synced_at.items() if here.get(c, "") == self._heard.get(c)
        }
        return replace(state, synced_at=synced)

    def needed(self, called: int) -> int:
        """How many of the clients that are called must answer."""
        if self._config.min_replies is None:
            return -(-called // 2)
        return min(self._config.min_replies, called)

    def round(self, splits: Sequence[str]) -> "SiteRound":
        """What carries one round; the sites measure those splits first."""
        return SiteRound(sites=self, splits=tuple(splits))

    def train(
        self, tasks: Sequence[ClientTask], splits: Sequence[str]
    ) -> tuple[dict[str, bytes], SiteMetrics]:
        """Updates of the clients that answered in time, and what their sites measured."""
        by_site = self._by_site(tasks)

        def read(frame: Frame, site: PresentSite) -> tuple[list[bytes], SiteMetrics]:
            own = by_site[site.name]
            updates = check_updates(frame, own, num_examples=site.num_examples)
            return updates, self._metrics_of(frame, own, splits)

        answers = self._exchange("train", by_site, splits, read=read)
        updates: dict[str, bytes] = {}
        for site, (blobs, _) in answers.values():
            for task, blob in zip(by_site[site.name], blobs, strict=True):
                updates[task.client_id] = blob
                self._heard[task.client_id] = site.session
        return updates, _join([metrics for _, (_, metrics) in answers.values()], splits)

    def measure(self, state: ServerState, *, method: Method, splits: Sequence[str]) -> SiteMetrics:
        """What the sites that are there make of the state."""
        tasks = tasks_of(
            state,
            method=method,
            population=list(self._positions),
            cohort=range(len(self._positions)),
            trained=frozenset(),
            learning_rate=0.0,
        )
        by_site = self._by_site(tasks)

        def read(frame: Frame, site: PresentSite) -> SiteMetrics:
            return self._metrics_of(frame, by_site[site.name], splits)

        answers = self._exchange("measure", by_site, splits, read=read)
        return _join([metrics for _, metrics in answers.values()], splits)

    def close(self) -> None:
        """Tell every node that the run is over."""
        asked = {
            self._carrier.push(node, Frame(content={"do": "end"}), seconds=SLACK, group="end")
            for node in self._carrier.nodes()
        }
        deadline = time.monotonic() + GOODBYE
        while asked and time.monotonic() < deadline:
            asked -= {reply.message_id for reply in self._carrier.pull(asked, limit=0)}
            time.sleep(PULL_EVERY)

    def _clients_here(self) -> dict[str, str]:
        """Clients whose site is there, and its session."""
        sites = self._roster.present.values()
        return {client: site.session for site in sites for client in self._expected[site.name]}

    def _by_site(self, tasks: Iterable[ClientTask]) -> dict[str, list[ClientTask]]:
        by_site: dict[str, list[ClientTask]] = {}
        for task in tasks:
            by_site.setdefault(self._site_of[task.client_id], []).append(task)
        return by_site

    def _metrics_of(
        self, frame: Frame, tasks: Sequence[ClientTask], splits: Sequence[str]
    ) -> SiteMetrics:
        holders = [SHARED, *(task.client_id for task in tasks)]
        return check_metrics(frame.content.get("metrics"), splits=splits, holders=holders)

    def _exchange(
        self,
        what: str,
        by_site: Mapping[str, Sequence[ClientTask]],
        splits: Sequence[str],
        *,
        read: Callable[[Frame, PresentSite], T],
    ) -> dict[str, tuple[PresentSite, T]]:
        """Ask every site that is there, and read what comes back by the deadline."""
        deadline = time.monotonic() + self._config.deadline
        number = next(iter(by_site.values()))[0].round_index
        waiting: dict[str, _Asked] = {}
        for name, tasks in by_site.items():
            site = self._roster.present.get(name)
            if site is None:
                self._tell(name, "is not there")
                continue
            frame = _request(what, tasks, site, positions=self._positions, splits=splits)
            waiting[name] = _Asked(site=site, frame=frame, group=f"{what} {number}")
        answers: dict[str, tuple[PresentSite, T]] = {}
        looked = time.monotonic()
        while waiting:
            self._check()
            left = deadline - time.monotonic()
            self._on_wait(number, len(answers), len(by_site), max(0.0, left))
            for name, reply in self._pull(waiting):
                site = waiting.pop(name).site
                answer = self._read(reply, site, read)
                if answer is not None:
                    answers[name] = (site, answer)
            if left <= 0:
                break
            for asked in waiting.values():
                self._ask(asked, left=left)
            if time.monotonic() - looked > LOOK_EVERY:
                self._roster.look()
                looked = time.monotonic()
            time.sleep(PULL_EVERY)
        for asked in waiting.values():
            self._lose(asked.site, f"did not answer within {self._config.deadline:.0f} s")
        return answers

    def _ask(self, asked: "_Asked", *, left: float) -> None:
        """Send the message, and again now and then.

        Flower gives a message away once: where the network is cut in that moment, it is lost. A
        site that has it twice does the work once.
        """
        if time.monotonic() < asked.again_at:
            return
        asked.frame.content["seconds"] = left
        asked.messages.append(
            self._carrier.push(
                asked.site.node, asked.frame, seconds=left + SLACK, group=asked.group
            )
        )
        asked.again_at = time.monotonic() + asked.pause
        asked.pause *= 2

    def _pull(self, waiting: Mapping[str, "_Asked"]) -> Iterator[tuple[str, Reply]]:
        """The first reply of every site that has one."""
        owners = {message: name for name, asked in waiting.items() for message in asked.messages}
        heard: set[str] = set()
        for reply in self._carrier.pull(list(owners), limit=self._limit) if owners else []:
            name = owners[reply.message_id]
            if name not in heard:
                heard.add(name)
                yield name, reply

    def _read(
        self, reply: Reply, site: PresentSite, read: Callable[[Frame, PresentSite], T]
    ) -> T | None:
        """The reply, read; None, and a line that names the site, for what is none."""
        content = {} if reply.frame is None else reply.frame.content
        problem = reply.error or content.get("error")
        if content.get("stale"):
            self._lose(site, "started afresh in the middle of the round")
        elif problem is not None:
            self._lose(site, shown(problem))
        elif reply.frame is None:
            self._tell(site.name, f"its reply is refused: {shown(reply.refused)}")
        else:
            try:
                return read(reply.frame, site)
            except WireError as error:
                self._tell(site.name, f"its reply is refused: {shown(error)}")
        return None

    def _lose(self, site: PresentSite, why: str) -> None:
        self._tell(site.name, why)
        self._roster.lose(site.name)


@dataclass
class _Asked:
    """What a site was asked, in how many messages, and when to ask again."""

    site: PresentSite
    frame: Frame
    group: str
    messages: list[str] = field(default_factory=list)
    again_at: float = 0.0
    pause: float = ASK_AGAIN


@dataclass
class SiteRound:
    """Carries the tasks of one round; ``metrics`` are what the sites measured before training."""

    sites: Sites
    splits: tuple[str, ...]
    metrics: SiteMetrics = field(default_factory=dict)

    def __call__(self, tasks: Iterable[ClientTask]) -> list[bytes | None]:
        """One reply a task, None for a client that did not answer in time or answered nonsense.

        Raises :class:`SitesError` where fewer answered than a round needs.
        """
        called = list(tasks)
        updates, self.metrics = self.sites.train(called, self.splits)
        needed = self.sites.needed(len(called))
        if len(updates) < needed:
            raise SitesError(
                "too few clients answered",
                where=f"round {called[0].round_index}",
                got=f"{len(updates)} of {len(called)}",
                expected=f"{needed} (sites.min_replies)",
            )
        return [updates.get(task.client_id) for task in called]


def _request(
    what: str,
    tasks: Sequence[ClientTask],
    site: PresentSite,
    *,
    positions: Mapping[str, int],
    splits: Sequence[str],
) -> Frame:
    """The message of a site; every distinct broadcast once."""
    payloads = {payload: i for i, payload in enumerate(dict.fromkeys(t.payload for t in tasks))}
    content = {
        "do": what,
        "session": site.session,
        "round": tasks[0].round_index,
        "learning_rate": tasks[0].learning_rate,
        "tasks": [[t.client_id, positions[t.client_id], payloads[t.payload]] for t in tasks],
        "splits": list(splits),
    }
    return Frame(content=content, blobs=list(payloads))


def _join(found: Sequence[SiteMetrics], splits: Sequence[str]) -> SiteMetrics:
    """All sites' measurements; of sites that measure by other names than most, none."""
    joined: SiteMetrics = {}
    for split in splits:
        by_holder = {h: m for metrics in found for h, m in metrics[split].items()}
        names = Counter(tuple(sorted(m)) for m in by_holder.values())
        usual = names.most_common(1)[0][0] if names else ()
        joined[split] = {h: m for h, m in by_holder.items() if tuple(sorted(m)) == usual}
    return joined
