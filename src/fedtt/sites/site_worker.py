"""A site's warm worker: model and data stay loaded, and every message of the server finds them."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.build_method import build_secure_sum
from fedtt.engine.error_feedback import RememberingClients
from fedtt.engine.evaluation import judge
from fedtt.engine.fingerprint import digest_of_start
from fedtt.engine.inprocess import LocalClients, local_clients
from fedtt.errors import (
    ConfigError,
    DivergenceError,
    FedttError,
    InterruptedRunError,
    SitesError,
    WireError,
)
from fedtt.federated.round import ClientTask
from fedtt.federated.wire.broadcast import trained_names
from fedtt.federated.wire.update import decode_update
from fedtt.sites.agreement import fact_differences, facts_of
from fedtt.sites.data_shares import Share
from fedtt.sites.frames import Frame
from fedtt.sites.kept_residuals import KeptResiduals
from fedtt.sites.message_schema import (
    LATE,
    Done,
    End,
    Hello,
    Joined,
    Message,
    Outcome,
    Refuse,
    SiteMetrics,
    SiteReply,
    Stale,
    SumStage,
    TaskOfClient,
    Trouble,
    Unfit,
    Work,
    parse_asked,
)
from fedtt.sites.peer_text import quote_peer
from fedtt.sites.site_data import SiteData
from fedtt.sites.site_examples import (
    SiteExamples,
    SpendingLimit,
    check_limit,
    open_site_examples,
)
from fedtt.sites.unmasked_rounds import UnmaskedRounds

if TYPE_CHECKING:
    from fedtt.sites.site_sums import SiteSums

Tell = Callable[[str], None]


MOST_TOLD = 5000  # characters of an error


class _LateError(FedttError):
    """The server no longer waits for this reply."""


@dataclass(frozen=True, kw_only=True)
class _Joined:
    """What the site is to one server process: ``session`` names what ``clients`` have heard."""

    epoch: str
    run_id: str
    session: str
    config: RunConfig
    federation: Federation
    clients: LocalClients
    own: Sequence[str]
    residuals: KeptResiduals | None
    examples: SiteExamples | None
    sums: "SiteSums | None"


class Worker:
    """Answers the server's messages, one after another.

    ``over`` says why the site is done, once it is: None for a run that ended, or an error. What
    its clients owe, with error feedback, is kept in the folder ``state``, if there is one; what
    hides its examples, with example-level privacy, is, and no more than ``spending_limit`` spent;
    and which rounds were unmasked, with secure sums.
    """

    def __init__(
        self,
        site: SiteData,
        *,
        tell: Tell,
        should_stop: Callable[[], bool],
        state: Path | None = None,
        spending_limit: SpendingLimit | None = None,
    ) -> None:
        self._site, self._state, self._limit = site, state, spending_limit
        self._tell, self._should_stop = tell, should_stop
        self._joined: _Joined | None = None
        self._unmasked = UnmaskedRounds(state)
        self._deadline = 0.0
        self._done: tuple[object, Frame] | None = None  # the last work, and its reply
        self._latest = 0  # the latest round begun since joining
        self.over = False
        self.problem: FedttError | None = None

    def answer(self, asked: Frame) -> Frame:
        """The reply to a message.

        Raises :class:`InterruptedRunError` once asked to stop, and :class:`SitesError` where this
        machine fails.
        """
        try:
            match parse_asked(asked.content, blobs=asked.blobs, peer="the server"):
                case Hello() as hello:
                    return _frame(self._hello(hello))
                case (Work() | SumStage()) as work:
                    return self._of_round(work, asked.blobs)
                case Refuse(reason=reason):
                    refused = quote_peer(reason)
                    self._end(SitesError("the server refuses this site", got=refused))
                case End():
                    self._tell("the run is over")
                    self._end(None)
        except _LateError:
            self._tell("too slow for this round")
            return _frame(Trouble(error=LATE))
        except InterruptedRunError:
            raise
        except FedttError as error:
            if isinstance(error, WireError) and asked.content.get("do") == "hello":
                self._end(error)  # of another version, or no server of ours: the next is as this
                return _frame(Unfit(unfit=error_for_server(error)))
            self._tell(quote_peer(error, most=MOST_TOLD))
            return _frame(Trouble(error=error_for_server(error)))
        except OSError as error:  # of a file or a full disk: it would be the same next time
            raise SitesError(
                "this machine cannot do its part",
                got=error,
                fix="mend that, and join again",
            ) from error
        return _frame(Done())

    def _end(self, problem: FedttError | None) -> None:
        self.over, self.problem = True, problem

    def _hello(self, hello: Hello) -> SiteReply:
        """Join: build what the server's configuration describes, and see that all fits."""
        try:
            joined = self._join(hello)
        except InterruptedRunError:
            raise
        except FedttError as error:
            # Nothing gets better by waiting: the site ends, and the server's log says why.
            self._end(error)
            return Unfit(unfit=error_for_server(error))
        federation = joined.federation
        counts = {client: len(federation.splits["train"][client]) for client in joined.own}
        return Joined(
            site=self._site.name,
            session=joined.session,
            start=federation.initial.start,
            num_examples=counts,
            label_cells=None if federation.label_cells is None else list(federation.label_cells),
        )

    def _join(self, hello: Hello) -> _Joined:
        joined, epoch = self._joined, hello.epoch
        if joined is not None and joined.epoch == epoch:
            return joined
        config = self._site.config(hello.config)
        check_limit(config, self._limit)
        if joined is None or joined.config != config:
            joined = None  # what was built is of no use
            self._tell(f"loading {config.model.name} ...")
        federation = self._site.build(config) if joined is None else joined.federation
        if joined is not None and joined.run_id == hello.run:  # another process of the same run
            residuals = joined.residuals
        else:
            residuals = self._residuals(hello.run, federation)
        p.write_params(federation.model, federation.initial.params)
        differences = fact_differences(hello.facts, facts_of(config, federation))
        if differences:
            raise SitesError(
                "server and site do not fit together:\n"
                + "\n".join(f"  - {line}" for line in differences),
                where=f"site {self._site.name}",
                fix="use the same fedtt, base model and classes on both",
            )
        own = self._site.clients(federation)
        examples = open_site_examples(
            config,
            federation,
            folder=self._state,
            run_id=hello.run,
            clients=own,
            limit=self._limit,
            shared=isinstance(self._site.data, Share),
        )
        for note in () if examples is None else examples.plan.notes:
            self._tell(note)
        self._latest = 0
        self._joined = _Joined(
            epoch=epoch,
            run_id=hello.run,
            session=secrets.token_hex(8),
            config=config,
            federation=federation,
            clients=self._clients(config, federation, examples),
            own=own,
            residuals=residuals,
            examples=examples,
            sums=self._sums(hello.run, config, federation),
        )
        self._tell(f"joined as {self._site.name}")
        return self._joined

    def _clients(
        self, config: RunConfig, federation: Federation, examples: SiteExamples | None
    ) -> LocalClients:
        return local_clients(
            federation,
            state=federation.initial,
            seed=config.seed,
            after_step=lambda *_: self._look_up(),
            private=None if examples is None else examples.privacy(),
        )

    def _of_round(self, asked: Work | SumStage, blobs: Sequence[bytes]) -> Frame:
        joined = self._joined
        if joined is None or asked.session != joined.session:
            return _frame(Stale())
        self._check_latest(asked.round)
        known = (asked.model_copy(update={"seconds": 0.0}), tuple(blobs))
        if self._done is not None and self._done[0] == known:
            return self._done[1]  # the server did not get the reply, or the network lost it
        match asked:
            case SumStage():
                reply = self._said(joined, asked, blobs)
            case Work():
                reply = self._worked(joined, asked, blobs)
        self._done = (known, reply)
        return reply

    def _worked(self, joined: _Joined, work: Work, blobs: Sequence[bytes]) -> Frame:
        started = time.monotonic()
        self._deadline = started + work.seconds
        check_measured(joined.config, work.splits)
        tasks = [self._task(joined, work, entry, blobs) for entry in work.tasks]
        if work.do == "train" and (work.sum is None) != (joined.sums is None):
            raise SitesError(
                "the server asks for an update as the configuration does not have it",
                where="privacy.secure_aggregation",
                got="in the clear" if work.sum is None else "masked",
            )
        metrics = self._measure(joined, tasks, work.splits)
        updates: list[bytes] = []
        if work.do == "train":
            if work.sum is None:
                updates = list(self._trained(joined, tasks))
            else:
                updates = self._masked(joined, work, tasks, blobs)
            spent = "" if joined.examples is None else f", {joined.examples.told(joined.own)}"
            self._tell(f"round {work.round + 1}: {time.monotonic() - started:.1f} s{spent}")
        return Frame(content=Outcome(metrics=metrics).model_dump(), blobs=updates)

    def _said(self, joined: _Joined, asked: SumStage, blobs: Sequence[bytes]) -> Frame:
        """What the site's clients say in a secure sum."""
        sums = _expected_sums(joined)
        for member in asked.members:
            _check_own(joined, member.client)
        return Frame(content=Outcome(metrics={}).model_dump(), blobs=sums.answer(asked, blobs))

    def _masked(
        self, joined: _Joined, work: Work, tasks: Sequence[ClientTask], blobs: Sequence[bytes]
    ) -> list[bytes]:
        """The updates, masked for the secure sum."""
        sums, token = _expected_sums(joined), work.sum or ""
        sums.check_turn(token, [task.client_id for task in tasks], round_index=work.round)
        settings, said = joined.config.model_dump_json(), []

        def written_down() -> Iterator[ClientTask]:
            for entry, task in zip(work.tasks, tasks, strict=True):
                start = digest_of_start(joined.clients.take_broadcast(task))
                trained = sorted(trained_names(task.payload, structure=task.structure))
                asked = (entry.position, work.learning_rate, start, trained, settings)
                sums.train_on(token, task.client_id, repr(asked), round_index=work.round)
                yield task

        updates = joined.clients(written_down())  # one by one: each starts where it was written
        for entry, task, payload in zip(work.tasks, tasks, updates, strict=True):
            expected = task.answer(trained_names(task.payload, structure=task.structure))
            update = decode_update(payload, expected=expected)
            weight = int(joined.federation.method.weighting(update))
            sealed = blobs[entry.sealed] if entry.sealed is not None else b""
            said.append(
                sums.masked(
                    token,
                    task.client_id,
                    update,
                    round_index=work.round,
                    weight=weight,
                    sealed=sealed,
                )
            )
        return said

    def _trained(self, joined: _Joined, tasks: Sequence[ClientTask]) -> Iterable[bytes]:
        """The updates as they travel."""
        if joined.residuals is None or not tasks:
            return joined.clients(tasks)
        before = joined.residuals.begin(tasks[0].round_index)
        after = dict(before)
        remembering = RememberingClients(
            clients=joined.clients, residuals=after, seed=joined.config.seed
        )
        updates = cast("list[bytes]", list(remembering(tasks)))  # what fails at a site is raised
        joined.residuals.end(tasks[0].round_index, before=before, after=after)
        return updates

    def _residuals(self, run_id: str, federation: Federation) -> KeptResiduals | None:
        if not federation.method.error_feedback:
            return None
        if self._state is None:
            self._tell("what the codec loses is kept in memory only: --state DIR keeps it")
        whole = p.structure_of(federation.initial.params)
        pretrained = federation.method.pretrained(whole)
        return KeptResiduals(
            self._state,
            run_id=run_id,
            clients=self._site.clients(federation),
            structure={name: spec for name, spec in whole.items() if name not in pretrained},
        )

    def _sums(self, run_id: str, config: RunConfig, federation: Federation) -> "SiteSums | None":
        secure = build_secure_sum(config)
        if secure is None:
            return None
        from fedtt.sites.site_sums import SiteSums

        if self._state is None:
            self._tell("which rounds are unmasked is kept in memory only: --state DIR keeps it")
        everyone = config.sites.names or federation.population
        return SiteSums(
            secure,
            clients=config.cohort.size or len(everyone),
            run_id=run_id,
            unmasked=self._unmasked,
        )

    def _check_latest(self, index: int) -> None:
        """An old message that comes late would set the copy of the global model back."""
        if index < self._latest:
            raise SitesError(
                "a message of an earlier round",
                where=f"site {self._site.name}",
                got=f"round {index}",
                expected=f"round {self._latest} or later",
                fix="nothing has to be done: the server no longer waits for its answer",
            )
        self._latest = index

    def _task(
        self, joined: _Joined, work: Work, entry: TaskOfClient, blobs: Sequence[bytes]
    ) -> ClientTask:
        _check_own(joined, entry.client)
        whole = p.structure_of(joined.federation.initial.params)
        return ClientTask(
            round_index=work.round,
            client_id=entry.client,
            payload=blobs[entry.payload],
            structure=joined.federation.method.client_structure(whole, entry.position),
            learning_rate=work.learning_rate,
            codec=joined.federation.method.codec,
            downlink=joined.federation.method.downlink,
            subspace=joined.federation.method.subspace,
        )

    def _measure(
        self, joined: _Joined, tasks: Sequence[ClientTask], splits: Sequence[str]
    ) -> SiteMetrics:
        """What each client makes of the global model, before it trains."""
        federation = joined.federation
        found: SiteMetrics = {split: {} for split in splits}
        for task in tasks:
            known = joined.clients.take_broadcast(task)
            if splits:
                p.write_params(federation.model, known)
            for split in splits:
                outcomes = judge(
                    federation.model,
                    federation.task,
                    federation.held(split, task.client_id),
                    batch_size=joined.config.evaluation.batch_size,
                    before_batch=lambda _: self._look_up(),
                )
                measured = {holder: federation.task.metrics(o) for holder, o in outcomes.items()}
                found[split] |= {h: dict(m) for h, m in measured.items()}
        return found

    def _look_up(self) -> None:
        """Between two steps: is there still somebody who wants the result?"""
        if self._should_stop():
            raise InterruptedRunError("stopped on request", where=f"site {self._site.name}")
        if time.monotonic() > self._deadline:
            raise _LateError("the round's deadline has passed")


def _expected_sums(joined: _Joined) -> "SiteSums":
    if joined.sums is None:
        raise SitesError(
            "the server asks for a secure sum, and the configuration has none",
            where="privacy.secure_aggregation",
        )
    return joined.sums


def check_measured(config: RunConfig, splits: Sequence[str]) -> None:
    """Raise :class:`SitesError` for a split that the configuration does not have measured."""
    asked = {"validation": config.evaluation.every > 0, "test": config.evaluation.test}
    refused = [split for split in splits if not asked[split]]
    if refused:
        raise SitesError(
            "the server asks for a score that is not to be measured",
            where="evaluation",
            got=refused[0],
            fix="begin a run whose evaluation.every and evaluation.test say what is",
        )


def _check_own(joined: _Joined, client_id: str) -> None:
    if client_id not in joined.own:
        asked_for = quote_peer(client_id)
        raise SitesError("the server asks for another site's client", got=asked_for)


def error_for_server(error: FedttError) -> str:
    """What the server hears of an error here: those of data quote it, and data stay here."""
    if isinstance(error, (SitesError, ConfigError, DivergenceError, WireError)):
        return str(error)[:MOST_TOLD]
    return f"{type(error).__name__} at the site; what it says is shown there only"


def _frame(message: Message) -> Frame:
    return Frame(content=message.model_dump())
