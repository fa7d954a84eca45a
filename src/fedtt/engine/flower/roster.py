"""Which sites are there: every node is asked who it is, and believed where it may be believed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtt.engine.flower.frames import Frame
from fedtt.engine.flower.peer_text import quote_peer
from fedtt.engine.flower.relay import Carrier, Reply
from fedtt.errors import WireError

Tell = Callable[[str, str], None]  # of a site, what happened
AGAIN = 5.0  # seconds until a node that answered with an error is asked again
ASK_AGAIN = 30.0  # seconds until one that did not answer is, then twice as long, and so on


@dataclass(frozen=True, kw_only=True)
class PresentSite:
    """A site that is there. ``session`` changes when it starts afresh, knowing nothing."""

    name: str
    node: int
    session: str
    num_examples: Mapping[str, int]  # of each of its clients, for training


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """What a node is told, and ``expected``: the sites that may come, and the clients of each."""

    epoch: str
    config: dict[str, Any]
    facts: dict[str, Any]
    expected: Mapping[str, Sequence[str]]

    def frame(self) -> Frame:
        """The message."""
        content = {"do": "hello", "epoch": self.epoch, "config": self.config, "facts": self.facts}
        return Frame(content=content)


class Roster:
    """The sites that are there. ``names``: the site of each node, where keys say so."""

    def __init__(
        self,
        carrier: Carrier,
        invitation: Invitation,
        *,
        names: Mapping[int, str] | None,
        patience: float,
        tell: Tell,
    ) -> None:
        self.present: dict[str, PresentSite] = {}
        self._carrier = carrier
        self._invitation = invitation
        self._names = names
        self._patience = patience
        self._tell = tell
        self._asked: dict[str, int] = {}  # message -> node
        self._again: dict[int, tuple[float, float]] = {}  # node -> when, and the pause after
        self._refused: set[int] = set()

    def look(self) -> None:
        """Ask whoever is new, and hear who has answered."""
        nodes = set(self._carrier.nodes())
        for site in [site for site in self.present.values() if site.node not in nodes]:
            del self.present[site.name]
            self._tell(site.name, "left")
        self._refused &= nodes
        self._asked = {message: node for message, node in self._asked.items() if node in nodes}
        known = {site.node for site in self.present.values()}
        self._again = {node: again for node, again in self._again.items() if node in nodes}
        for node in sorted(nodes - known - self._refused):
            self._ask(node)
        if self._asked:
            for reply in self._carrier.pull(list(self._asked), limit=0):
                if reply.message_id in self._asked:
                    self._greet(reply, node=self._asked.pop(reply.message_id))

    def lose(self, name: str) -> None:
        """Count the site as away until it answers again."""
        site = self.present.pop(name, None)
        if site is not None:
            self._again.pop(site.node, None)

    def refuse(self, node: int, reason: str) -> None:
        """Tell the node, and the log, why it cannot take part."""
        self._refused.add(node)
        self._tell(self._called(node), f"refused: {reason}")
        self._carrier.push(
            node,
            Frame(content={"do": "refuse", "reason": reason}),
            seconds=self._patience,
            group="join",
        )

    def _ask(self, node: int) -> None:
        """Send the invitation, and again now and then: the network may have lost it."""
        at, pause = self._again.get(node, (0.0, ASK_AGAIN))
        if time.monotonic() < at:
            return
        message = self._carrier.push(
            node, self._invitation.frame(), seconds=self._patience, group="join"
        )
        self._asked[message] = node
        self._again[node] = (time.monotonic() + pause, 2 * pause)

    def _greet(self, reply: Reply, *, node: int) -> None:
        if reply.refused is not None:
            self.refuse(node, quote_peer(reply.refused))
            return
        content = {} if reply.frame is None else reply.frame.content
        if "unfit" in content:
            self.refuse(node, quote_peer(content["unfit"]))
            return
        if reply.error is not None or "error" in content:
            self._again[node] = (time.monotonic() + AGAIN, ASK_AGAIN)
            if "error" in content:
                self._tell(self._called(node), quote_peer(content["error"]))
            return
        try:
            site = self._read(content, node=node)
        except WireError as error:
            self.refuse(node, str(error))
            return
        self._asked = {message: other for message, other in self._asked.items() if other != node}
        self.present[site.name] = site
        self._tell(site.name, f"joined ({sum(site.num_examples.values()):,} training examples)")

    def _read(self, content: Mapping[str, Any], *, node: int) -> PresentSite:
        name, session, counts = (content.get(k) for k in ("site", "session", "num_examples"))
        expected = self._invitation.expected
        if not isinstance(name, str) or name not in expected:
            raise WireError(
                "no such site",
                got=quote_peer(name),
                expected=", ".join(sorted(expected)[:20]),
                fix="join with the --name that sites.names has for this site",
            )
        if self._names is not None and self._names.get(node) != name:
            raise WireError(
                "a key may act only as its own site",
                got=name,
                expected=self._names.get(node, "a registered key"),
            )
        if not isinstance(session, str) or not isinstance(counts, dict):
            raise WireError("a site does not say what it holds", got=quote_peer(content))
        if sorted(counts) != sorted(expected[name]):
            raise WireError(
                "a site holds other clients than its own",
                got=quote_peer(sorted(counts)[:3]),
                expected=list(expected[name])[:3],
            )
        if not all(type(count) is int and 0 < count < 10**12 for count in counts.values()):
            raise WireError("a site has an impossible number of examples", got=quote_peer(counts))
        return PresentSite(name=name, node=node, session=session[:64], num_examples=counts)

    def _called(self, node: int) -> str:
        return (self._names or {}).get(node, f"node {node}")
