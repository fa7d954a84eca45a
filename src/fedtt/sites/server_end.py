"""The server's end of a federation of sites: carries a round's tasks, and brings back replies.

The round itself is :func:`fedtt.federated.round.run_round`. Nothing here waits without a bound.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from fedtt.config import SitesConfig
from fedtt.errors import SitesError, WireError
from fedtt.federated.failures import left_out
from fedtt.federated.method import Method
from fedtt.federated.round import CheckedReply, ClientReply, ClientTask, FailedReply, tasks_of
from fedtt.federated.types import ServerState
from fedtt.sites.carrier import Carrier
from fedtt.sites.exchange import PULL_EVERY, SLACK, Answer, Exchange, Heard, Hooks
from fedtt.sites.expected_metrics import Measured
from fedtt.sites.frames import Frame
from fedtt.sites.message_schema import (
    End,
    SiteMetrics,
    Split,
    SumMember,
    SumStage,
    SumStageName,
    Work,
)
from fedtt.sites.peer_text import quote_peer
from fedtt.sites.replies import check_count, check_metrics, check_update, join_metrics
from fedtt.sites.reply_store import ReplyStore, Stored
from fedtt.sites.roster import PresentSite, Roster

if TYPE_CHECKING:
    from fedtt.federated.secure.secure_round import Summed, SumRequest
    from fedtt.sites.sum_over_sites import Said

GOODBYE = 10.0  # seconds for the sites to hear that the run is over


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a run asks of its sites.

    ``expected`` maps each site to its clients, ``population`` is all of them in the run's order.
    ``limit`` is the most bytes of a reply; ``fewest`` updates make a round.
    """

    config: SitesConfig
    expected: Mapping[str, Sequence[str]]
    population: Sequence[str]
    limit: int
    fewest: int
    measured: Measured


class Sites:
    """The sites of a run, which ``carrier`` reaches and ``roster`` knows."""

    def __init__(self, carrier: Carrier, roster: Roster, *, terms: Terms, hooks: Hooks) -> None:
        self._carrier, self._roster = carrier, roster
        self._config, self._fewest = terms.config, terms.fewest
        self._expected, self._measured = terms.expected, terms.measured
        self._population = tuple(terms.population)
        self._site_of = {client: name for name, own in terms.expected.items() for client in own}
        self._tell, self._check = hooks.tell, hooks.check
        self._exchange = Exchange(
            carrier,
            roster,
            positions={client: index for index, client in enumerate(self._population)},
            deadline=terms.config.deadline,
            limit=terms.limit,
            hooks=hooks,
        )
        self._started = False
        self._heard: dict[str, str] = {}  # client -> the session of its site that was heard last

    def gather(self, state: ServerState, *, called: Sequence[str]) -> ServerState:
        """Wait for sites; the state, without what a site that started afresh does not know.

        At first all are waited for, for as long as patience lasts, later as many of the clients
        that are ``called`` next as must answer. Raises :class:`SitesError` for too few.
        """
        needed = self.needed(len(called))
        deadline = time.monotonic() + self._config.patience
        while True:
            self._check()
            self._roster.look()
            if self._all_here() or self._started or time.monotonic() >= deadline:
                self._roster.refuse_contradictions()
            here = self._clients_here()
            complete = len(here) == len(self._site_of)
            reached = sum(client in here for client in called)
            late = time.monotonic() >= deadline
            if reached >= needed and (complete or self._started or late):
                break
            if late:
                raise SitesError(
                    "too few sites joined",
                    got=f"{reached} clients after {self._config.patience:.0f} s",
                    expected=f"{needed} of the {len(called)} called next",
                    fix="start the other sites, and go on with --resume",
                )
            time.sleep(PULL_EVERY)
        self._started = True
        synced = {
            c: at for c, at in state.synced_at.items() if here.get(c, "") == self._heard.get(c)
        }
        return replace(state, synced_at=synced, strangers=self._strangers(state.start))

    def num_examples(self) -> dict[str, int]:
        """Training examples by client, as the sites that are there say."""
        said: dict[str, int] = {}
        for site in self._roster.present.values():
            said |= site.num_examples
        return said

    def needed(self, called: int) -> int:
        """How many of the clients that are called must answer."""
        wanted = self._config.min_replies or -(-called // 2)
        return min(max(wanted, self._fewest), called)

    def round(self, splits: Sequence[Split]) -> "SiteRound":
        """What carries one round; the sites measure those splits first."""
        return SiteRound(sites=self, splits=tuple(splits))

    def train(
        self, tasks: Sequence[ClientTask], splits: Sequence[Split], store: ReplyStore
    ) -> "Trained":
        """What comes back in time, and what the sites measured before they trained."""
        by_site = self._by_site(tasks)

        def read(answer: Answer, site: PresentSite) -> tuple[list[Stored], SiteMetrics]:
            own = by_site[site.name]
            check_count(answer.blobs, expected=len(own))
            return store.keep(answer.blobs), self._metrics_of(answer, site, own, splits)

        heard = self._exchange("train", by_site, splits, read=read)
        updates = {
            task.client_id: Update(site=site, place=place)
            for name, (site, (places, _)) in heard.answers.items()
            for task, place in zip(by_site[name], places, strict=True)
        }
        return Trained(
            updates=updates,
            metrics={name: metrics for name, (_, (_, metrics)) in heard.answers.items()},
            failed=_by_client(heard.failed, by_site),
            unsent=frozenset(
                task.client_id
                for name, own in by_site.items()
                if name not in heard.asked
                for task in own
            ),
        )

    def ask_stage(
        self,
        stage: SumStageName,
        tasks: Sequence[ClientTask],
        blobs: Sequence[bytes],
        *,
        request: "SumRequest",
    ) -> "Said":
        """What the clients say in that stage of a secure sum."""
        by_site = self._by_site(tasks)
        places = {client: place for place, client in enumerate(request.cohort, start=1)}

        def build(site: PresentSite) -> tuple[SumStage, Sequence[bytes]]:
            members = [
                SumMember(client=task.client_id, place=places[task.client_id])
                for task in by_site[site.name]
            ]
            asked = SumStage(
                stage=stage,
                session=site.session,
                round=tasks[0].round_index,
                sum=request.terms.session.hex(),
                members=members,
                seconds=0.0,
            )
            return asked, blobs

        return self._said(
            self._exchange.ask(
                list(by_site), build, number=tasks[0].round_index, read=self._counted(by_site)
            ),
            by_site,
        )

    def train_masked(
        self,
        tasks: Sequence[ClientTask],
        sealed: Mapping[str, bytes],
        splits: Sequence[Split],
        *,
        request: "SumRequest",
    ) -> tuple["Said", dict[str, SiteMetrics]]:
        """The masked updates by client, and what the sites measured before, by site."""
        by_site = self._by_site(tasks)
        metrics: dict[str, SiteMetrics] = {}
        counted = self._counted(by_site)

        def build(site: PresentSite) -> tuple[Work, Sequence[bytes]]:
            work, payloads = self._exchange.request("train", by_site[site.name], site, splits)
            own = [
                task.model_copy(update={"sealed": len(payloads) + index})
                for index, task in enumerate(work.tasks)
            ]
            token = request.terms.session.hex()
            work = work.model_copy(update={"tasks": own, "sum": token})
            return work, [*payloads, *(sealed[task.client] for task in own)]

        def read(answer: Answer, site: PresentSite) -> Sequence[bytes]:
            blobs = counted(answer, site)
            metrics[site.name] = self._metrics_of(answer, site, by_site[site.name], splits)
            return blobs

        heard = self._exchange.ask(list(by_site), build, number=tasks[0].round_index, read=read)
        masked = self._said(heard, by_site)
        for name, (site, _) in heard.answers.items():
            self._heard |= {task.client_id: site.session for task in by_site[name]}
        return masked, metrics

    def refuse(self, client_id: str, error: WireError) -> None:
        """Say that what the client sent is not what it should be."""
        self._tell(self._site_of[client_id], f"its reply is refused: {quote_peer(error)}")

    def _counted(
        self, by_site: Mapping[str, Sequence[ClientTask]]
    ) -> Callable[[Answer, PresentSite], Sequence[bytes]]:
        """The blobs of an answer, one a client."""

        def read(answer: Answer, site: PresentSite) -> Sequence[bytes]:
            check_count(answer.blobs, expected=len(by_site[site.name]))
            return answer.blobs

        return read

    def _said(
        self, heard: Heard[Sequence[bytes]], by_site: Mapping[str, Sequence[ClientTask]]
    ) -> "Said":
        from fedtt.sites.sum_over_sites import Said

        blobs = {
            task.client_id: blob
            for name, (_, own) in heard.answers.items()
            for task, blob in zip(by_site[name], own, strict=True)
        }
        return Said(blobs=blobs, failed=_by_client(heard.failed, by_site))

    def check(self, task: ClientTask, blob: bytes, site: PresentSite) -> CheckedReply | FailedReply:
        """The update, which counts; a line that names the site, where it does not."""
        try:
            reply = check_update(blob, task, num_examples=site.num_examples[task.client_id])
        except WireError as error:
            self._tell(site.name, f"its reply is refused: {quote_peer(error)}")
            return FailedReply(reason=error.summary)
        self._heard[task.client_id] = site.session
        return reply

    def measure(
        self, state: ServerState, *, method: Method, splits: Sequence[Split]
    ) -> SiteMetrics:
        """What the sites that are there make of the state."""
        gone = left_out(state.failures)
        tasks = tasks_of(
            state,
            method=method,
            population=self._population,
            cohort=[at for at, c in enumerate(self._population) if c not in gone],
            trained=frozenset(),
            learning_rate=0.0,
        )
        by_site = self._by_site(_with_shared_payloads(tasks))

        def read(answer: Answer, site: PresentSite) -> SiteMetrics:
            return self._metrics_of(answer, site, by_site[site.name], splits)

        heard = self._exchange("measure", by_site, splits, read=read)
        return join_metrics([metrics for _, metrics in heard.answers.values()], splits)

    def close(self) -> None:
        """Tell every node that the run is over."""
        asked = {
            self._carrier.push(node, Frame(content=End().model_dump()), seconds=SLACK, group="end")
            for node in self._carrier.nodes()
        }
        deadline = time.monotonic() + GOODBYE
        while asked and time.monotonic() < deadline:
            asked -= {reply.message_id for reply in self._carrier.pull(asked, limit=0)}
            time.sleep(PULL_EVERY)

    def _all_here(self) -> bool:
        return self._roster.present.keys() == self._expected.keys()

    def _clients_here(self) -> dict[str, str]:
        """Clients whose site is there, and its session."""
        sites = self._roster.present.values()
        return {client: site.session for site in sites for client in self._expected[site.name]}

    def _strangers(self, start: str) -> frozenset[str]:
        """Clients of sites that begin with other parameters than the run: another torch does."""
        sites = self._roster.present.values()
        others = (site.name for site in sites if site.start != start)
        return frozenset(client for name in others for client in self._expected[name])

    def _by_site(self, tasks: Iterable[ClientTask]) -> dict[str, list[ClientTask]]:
        by_site: dict[str, list[ClientTask]] = {}
        for task in tasks:
            by_site.setdefault(self._site_of[task.client_id], []).append(task)
        return by_site

    def _metrics_of(
        self,
        answer: Answer,
        site: PresentSite,
        tasks: Sequence[ClientTask],
        splits: Sequence[Split],
    ) -> SiteMetrics:
        """What the site measured; nothing, and a line that names it, where that is nonsense."""
        own = [task.client_id for task in tasks]
        try:
            return check_metrics(answer.metrics, splits=splits, own=own, measured=self._measured)
        except WireError as error:
            self._tell(site.name, f"its metrics are left out: {quote_peer(error)}")
            return {}


@dataclass(frozen=True, kw_only=True)
class Update:
    """One client's update, not looked at yet: from which site, and where it lies."""

    site: PresentSite
    place: Stored


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The updates by client, the metrics by site, the clients whose site was not asked, and
    what was wrong with the replies of some.
    """

    updates: Mapping[str, Update]
    metrics: Mapping[str, SiteMetrics]
    unsent: frozenset[str]
    failed: Mapping[str, str]


@dataclass
class SiteRound:
    """Carries the tasks of one round; ``metrics`` are what the sites measured before training, and
    ``unsent`` the clients to which nothing was sent.
    """

    sites: Sites
    splits: tuple[Split, ...]
    metrics: SiteMetrics = field(default_factory=dict)
    unsent: frozenset[str] = frozenset()

    def __call__(self, tasks: Iterable[ClientTask]) -> Iterator[ClientReply]:
        """One reply a task, None for a client that did not answer in time.

        Of the broadcasts each is held once, and of the replies one at a time. Raises
        :class:`SitesError` where fewer answered than a round needs.
        """
        called = _with_shared_payloads(tasks)
        if not called:
            return  # all of the cohort dropped out: nobody is asked, and nobody measures
        with ReplyStore() as store:
            trained = self.sites.train(called, self.splits, store)
            self.unsent = trained.unsent
            self._check_enough(len(trained.updates), called)
            answered, refused = 0, set()
            for task in called:
                update = trained.updates.get(task.client_id)
                if update is None:
                    reason = trained.failed.get(task.client_id)
                    yield None if reason is None else FailedReply(reason=reason)
                    continue
                reply = self.sites.check(task, store.take(update.place), update.site)
                bad = isinstance(reply, FailedReply)
                refused |= {update.site.name} if bad else set()
                answered += not bad
                yield reply
        self._check_enough(answered, called)
        believed = [found for name, found in trained.metrics.items() if name not in refused]
        self.metrics = join_metrics(believed, self.splits)

    def summed(self, request: "SumRequest") -> "Summed":
        """The secure sum of the updates; raises like a call."""
        from fedtt.federated.secure.secure_round import Summed
        from fedtt.sites.sum_over_sites import SumOverSites

        called = [
            task
            for task in _with_shared_payloads(request.tasks)
            if task.client_id not in request.absent
        ]
        missing = request.terms.lacks([task.client_id for task in called])
        if missing is not None:  # so many dropped out that nobody is asked
            nothing = dict.fromkeys(request.cohort, 0)
            return Summed(total=None, uplink={}, downlink=nothing, missing=missing)
        needed = self.sites.needed(len(called))
        asked = SumOverSites(
            request=request, called=called, fewest=needed, refuse=self.sites.refuse
        )

        def train(tasks: Sequence[ClientTask], sealed: Mapping[str, bytes]) -> "Said":
            masked, metrics = self.sites.train_masked(tasks, sealed, self.splits, request=request)
            self.metrics = join_metrics(list(metrics.values()), self.splits)
            return masked

        return asked(partial(self.sites.ask_stage, request=request), train)

    def _check_enough(self, answered: int, called: Sequence[ClientTask]) -> None:
        needed = self.sites.needed(len(called))
        if answered < needed:
            raise SitesError(
                "too few clients answered",
                where=f"round {called[0].round_index}",
                got=f"{answered} of {len(called)}",
                expected=f"{needed} (sites.min_replies, and what server.aggregation takes)",
            )


def _by_client(
    of_site: Mapping[str, str], by_site: Mapping[str, Sequence[ClientTask]]
) -> dict[str, str]:
    """What is said of a site, of each of its clients that were called."""
    return {task.client_id: said for name, said in of_site.items() for task in by_site[name]}


def _with_shared_payloads(tasks: Iterable[ClientTask]) -> list[ClientTask]:
    """The tasks; what many are told alike is in memory once."""
    payloads: dict[bytes, bytes] = {}
    return [
        replace(task, payload=payloads.setdefault(task.payload, task.payload)) for task in tasks
    ]
