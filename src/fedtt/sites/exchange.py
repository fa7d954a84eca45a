"""One question to every site that is there, and what comes back by the deadline."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from fedtt.errors import WireError
from fedtt.federated.failures import LONGEST_REASON
from fedtt.federated.round import ClientTask, FailedReply
from fedtt.sites.carrier import CarriedReply, Carrier
from fedtt.sites.frames import Frame
from fedtt.sites.message_schema import (
    LATE,
    Outcome,
    Split,
    Stale,
    SumStage,
    TaskOfClient,
    Trouble,
    Work,
    parse_reply,
)
from fedtt.sites.peer_text import quote_peer
from fedtt.sites.roster import PresentSite, Roster, Tell

OnWait = Callable[[int, int, int, float], None]  # round, answered, asked, seconds left
LOOK_EVERY = 1.0
PULL_EVERY = 0.2
ASK_AGAIN = 30.0  # seconds until a message is sent again, then twice as long, and so on
SLACK = 60.0  # a message lives that much longer than anybody waits for its answer

Doing = Literal["train", "measure"]
Question = Work | SumStage
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a site answered: its metrics, not read yet, and its updates."""

    metrics: Any
    blobs: Sequence[bytes]


@dataclass(frozen=True, kw_only=True)
class Heard(Generic[T]):
    """What came back, by site, the names of the sites to which something was sent at all, and what
    was wrong with the replies of some.
    """

    answers: Mapping[str, tuple[PresentSite, T]]
    asked: frozenset[str]
    failed: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the server calls meanwhile: news of a site, how a wait stands, and ``check``.

    ``check`` may raise to end a wait early; it is called several times a second.
    """

    tell: Tell
    on_wait: OnWait
    check: Callable[[], None]


class Exchange:
    """Carries questions to sites; ``limit`` is the most bytes of a reply."""

    def __init__(
        self,
        carrier: Carrier,
        roster: Roster,
        *,
        positions: Mapping[str, int],
        deadline: float,
        limit: int,
        hooks: Hooks,
    ) -> None:
        self._carrier, self._roster = carrier, roster
        self._positions = positions
        self._seconds, self._limit = deadline, limit
        self._tell, self._check, self._on_wait = hooks.tell, hooks.check, hooks.on_wait

    def __call__(
        self,
        what: Doing,
        by_site: Mapping[str, Sequence[ClientTask]],
        splits: Sequence[Split],
        *,
        read: Callable[[Answer, PresentSite], T],
    ) -> Heard[T]:
        """Ask every site that is there, and read what comes back by the deadline."""

        def build(site: PresentSite) -> tuple[Work, list[bytes]]:
            return self.request(what, by_site[site.name], site, splits)

        number = next(iter(by_site.values()))[0].round_index
        return self.ask(list(by_site), build, number=number, read=read)

    def request(
        self, what: Doing, tasks: Sequence[ClientTask], site: PresentSite, splits: Sequence[Split]
    ) -> tuple[Work, list[bytes]]:
        """The message of a site, and every distinct broadcast once."""
        return _request(what, tasks, site, positions=self._positions, splits=splits)

    def ask(
        self,
        names: Sequence[str],
        build: Callable[[PresentSite], tuple[Question, Sequence[bytes]]],
        *,
        number: int,
        read: Callable[[Answer, PresentSite], T],
    ) -> Heard[T]:
        """Ask those of the sites that are there what ``build`` makes, in that round."""
        deadline = time.monotonic() + self._seconds
        waiting: dict[str, _Asked] = {}
        for name in names:
            site = self._roster.present.get(name)
            if site is None:
                self._tell(name, "is not there")
                continue
            work, blobs = build(site)
            waiting[name] = _Asked(site=site, work=work, blobs=blobs)
        answers: dict[str, tuple[PresentSite, T]] = {}
        sent: set[str] = set()
        failed: dict[str, str] = {}
        looked = time.monotonic()
        while waiting:
            self._check()
            left = deadline - time.monotonic()
            self._on_wait(number, len(answers), len(names), max(0.0, left))
            for name, reply in self._pull(waiting):
                site = waiting.pop(name).site
                answer = self._read(reply, site, read)
                if isinstance(answer, FailedReply):
                    failed[name] = answer.reason
                elif answer is not None:
                    answers[name] = (site, answer)
            if left <= 0:
                break
            for asked in waiting.values():
                self._ask(asked, left=left)
            sent |= waiting.keys()
            if time.monotonic() - looked > LOOK_EVERY:
                self._roster.look()
                looked = time.monotonic()
            time.sleep(PULL_EVERY)
        for asked in waiting.values():
            self._lose(asked.site, f"did not answer within {self._seconds:.0f} s")
        return Heard(answers=answers, asked=frozenset(sent), failed=failed)

    def _ask(self, asked: "_Asked", *, left: float) -> None:
        """Send the message, and again now and then.

        Flower gives a message away once: where the network is cut in that moment, it is lost. That
        takes less time than a node needs to count as away, so nobody can tell whether it arrived,
        and a round that lasts is sent again with nothing lost. A site that has it twice does the
        work once.
        """
        if time.monotonic() < asked.again_at:
            return
        asked.messages.append(
            self._carrier.push(
                asked.site.node, asked.frame(left), seconds=left + SLACK, group=asked.group
            )
        )
        asked.again_at = time.monotonic() + asked.pause
        asked.pause *= 2

    def _pull(self, waiting: Mapping[str, "_Asked"]) -> Iterator[tuple[str, CarriedReply]]:
        """The first reply of every site that has one."""
        owners = {message: name for name, asked in waiting.items() for message in asked.messages}
        heard: set[str] = set()
        for reply in self._carrier.pull(list(owners), limit=self._limit) if owners else ():
            name = owners[reply.message_id]
            if name not in heard:
                heard.add(name)
                yield name, reply

    def _read(
        self, reply: CarriedReply, site: PresentSite, read: Callable[[Answer, PresentSite], T]
    ) -> T | FailedReply | None:
        """The reply, read; a line that names the site for what is none, which is a failure of the
        site unless the network lost it, or time ran out.
        """
        if reply.error is not None:
            self._lose(site, quote_peer(reply.error))
            return None
        if reply.frame is None:
            self._tell(site.name, f"its reply is refused: {quote_peer(reply.refused)}")
            return FailedReply(reason="a reply that cannot be read")
        try:
            match parse_reply(reply.frame.content, peer=f"site {site.name}"):
                case Stale():
                    self._lose(site, "started afresh in the middle of the round")
                case Trouble(error=problem):
                    self._lose(site, quote_peer(problem))
                    return None if problem == LATE else _trouble(problem)
                case Outcome(metrics=metrics):
                    return read(Answer(metrics=metrics, blobs=reply.frame.blobs), site)
                case _:
                    raise WireError("a reply to another question")
        except WireError as error:
            self._tell(site.name, f"its reply is refused: {quote_peer(error)}")
            return FailedReply(reason=error.summary)
        return None

    def _lose(self, site: PresentSite, why: str) -> None:
        self._tell(site.name, why)
        self._roster.lose(site.name)


@dataclass
class _Asked:
    """What a site was asked, in how many messages, and when to ask again."""

    site: PresentSite
    work: Question
    blobs: Sequence[bytes]
    messages: list[str] = field(default_factory=list)
    again_at: float = 0.0
    pause: float = ASK_AGAIN

    @property
    def group(self) -> str:
        """What Flower's own lists call the message."""
        return f"{self.work.do} {self.work.round}"

    def frame(self, seconds: float) -> Frame:
        """The message, where so many seconds are left."""
        work = self.work.model_copy(update={"seconds": seconds})
        return Frame(content=work.model_dump(), blobs=self.blobs)


def _trouble(problem: str) -> FailedReply:
    """The first line of what a site says went wrong: below it are places, which change."""
    return FailedReply(reason=quote_peer(problem.partition("\n")[0], most=LONGEST_REASON))


def _request(
    what: Doing,
    tasks: Sequence[ClientTask],
    site: PresentSite,
    *,
    positions: Mapping[str, int],
    splits: Sequence[Split],
) -> tuple[Work, list[bytes]]:
    """The message of a site, and every distinct broadcast once."""
    payloads = {payload: i for i, payload in enumerate(dict.fromkeys(t.payload for t in tasks))}
    work = Work(
        do=what,
        session=site.session,
        round=tasks[0].round_index,
        learning_rate=tasks[0].learning_rate,
        tasks=[
            TaskOfClient(
                client=task.client_id,
                position=positions[task.client_id],
                payload=payloads[task.payload],
            )
            for task in tasks
        ],
        splits=list(splits),
        seconds=0.0,
    )
    return work, list(payloads)
