"""What carries messages between the server and the sites: the seam behind which Flower is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedtt.sites.frames import Frame


@dataclass(frozen=True, kw_only=True)
class CarriedReply:
    """What came back for the message ``message_id``, as Flower says from ``node``.

    Either a ``frame``, or why there is none: ``error`` where Flower gave up, ``refused`` where the
    node sent something that is no frame of ours.
    """

    message_id: str
    node: int
    frame: Frame | None = None
    error: str | None = None
    refused: str | None = None


class Carrier(Protocol):
    """What carries messages to nodes; in tests a list, else Flower."""

    def nodes(self) -> Sequence[int]:
        """The nodes that are there now."""
        ...

    def push(self, node: int, frame: Frame, *, seconds: float, group: str) -> str:
        """Send the frame to the node, for that long; the message's id."""
        ...

    def pull(self, message_ids: Iterable[str], *, limit: int) -> Iterable[CarriedReply]:
        """The replies that have come since, of at most ``limit`` bytes each, a few at a time."""
        ...
