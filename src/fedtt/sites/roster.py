"""Which sites are there: every node is asked who it is, and believed where it may be believed."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedtt.errors import SitesError, WireError
from fedtt.sites.carrier import CarriedReply, Carrier
from fedtt.sites.frames import Frame
from fedtt.sites.label_cells import odd_sites
from fedtt.sites.message_schema import (
    Facts,
    Hello,
    Joined,
    Refuse,
    Trouble,
    Unfit,
    parse_reply,
)
from fedtt.sites.peer_text import quote_peer

Tell = Callable[[str, str], None]  # of a site, what happened
AGAIN = 5.0  # seconds until a node that answered with an error is asked again
ASK_AGAIN = 30.0  # seconds until one that did not answer is, then twice as long, and so on


@dataclass(frozen=True, kw_only=True)
class PresentSite:
    """A site that is there. ``session`` changes when it starts afresh, from ``start``."""

    name: str
    node: int
    session: str
    start: str  # digest of the parameters that it begins with
    num_examples: Mapping[str, int]  # of each of its clients, for training
    label_cells: Sequence[int] | None  # what stands for each class in its file


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """What a node is told, and ``expected``: the sites that may come, and the clients of each."""

    epoch: str
    run_id: str
    config: dict[str, Any]
    facts: Facts
    expected: Mapping[str, Sequence[str]]

    def frame(self) -> Frame:
        """The message."""
        hello = Hello(epoch=self.epoch, run=self.run_id, config=self.config, facts=self.facts)
        return Frame(content=hello.model_dump())


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

    def refuse_contradictions(self) -> None:
        """Refuse sites to which the same label means another class than to most of the others.

        To be called before training: a model that learns both learns neither.
        """
        cells = {name: site.label_cells for name, site in self.present.items()}
        for name, why in odd_sites(cells).items():
            error = SitesError(
                "sites write the same label for different classes",
                got=why,
                fix="write labels the same way at every site: their names, or the same integers; "
                "or say at each, with --set data.label_values=[...], what stands for each class",
            )
            self.refuse(self.present.pop(name).node, str(error))

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
            Frame(content=Refuse(reason=reason).model_dump()),
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

    def _greet(self, reply: CarriedReply, *, node: int) -> None:
        if reply.refused is not None:
            self.refuse(node, quote_peer(reply.refused))
            return
        if reply.frame is None:
            self._again[node] = (time.monotonic() + AGAIN, ASK_AGAIN)
            return
        try:
            said = parse_reply(reply.frame.content, peer=self._called(node))
            match said:
                case Joined():
                    site = self._admit(said, node=node)
                case Unfit():
                    self.refuse(node, quote_peer(said.unfit))
                    return
                case Trouble():
                    self._again[node] = (time.monotonic() + AGAIN, ASK_AGAIN)
                    self._tell(self._called(node), quote_peer(said.error))
                    return
                case _:
                    raise WireError("a site does not say what it holds")
        except WireError as error:
            self.refuse(node, str(error))
            return
        self._asked = {message: other for message, other in self._asked.items() if other != node}
        self.present[site.name] = site
        self._tell(site.name, f"joined ({sum(site.num_examples.values()):,} training examples)")

    def _admit(self, said: Joined, *, node: int) -> PresentSite:
        """The site, where it is one that may come, with its own key and its own clients."""
        expected, name = self._invitation.expected, said.site
        if name not in expected:
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
        if sorted(said.num_examples) != sorted(expected[name]):
            raise WireError(
                "a site holds other clients than its own",
                got=quote_peer(sorted(said.num_examples)[:3]),
                expected=list(expected[name])[:3],
            )
        return PresentSite(
            name=name,
            node=node,
            session=said.session,
            start=said.start,
            num_examples=said.num_examples,
            label_cells=said.label_cells,
        )

    def _called(self, node: int) -> str:
        return (self._names or {}).get(node, f"node {node}")
