"""The values that travel through a round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedtt.params import Params


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """All that the server needs to run the next round: resuming is calling the round with it.

    ``params`` holds every exchanged parameter of the global model, ``optimizer`` the server
    optimizer's own tensors (none for FedAvg).
    """

    next_round: int
    params: Params
    optimizer: Params = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClientUpdate:
    """What one client reports after its local training: ``delta`` = new - old parameters.

    ``loss`` is the mean training loss over its ``num_steps`` local steps, in nats.
    """

    delta: Params
    num_examples: int
    num_steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class ClientReport:
    """What the record keeps of one client's part in a round (its delta is gone by then)."""

    num_examples: int
    num_steps: int
    loss: float
    uplink_bytes: int
    downlink_bytes: int


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What happened in one round; ``clients`` in the order in which they were aggregated."""

    round_index: int
    clients: Mapping[str, ClientReport]

    @property
    def loss(self) -> float:
        """Training loss, weighted by the clients' number of examples."""
        weight = sum(report.num_examples for report in self.clients.values())
        return sum(r.loss * r.num_examples for r in self.clients.values()) / weight

    @property
    def uplink_bytes(self) -> int:
        """Bytes that all clients sent to the server."""
        return sum(report.uplink_bytes for report in self.clients.values())

    @property
    def downlink_bytes(self) -> int:
        """Bytes that the server sent to all clients."""
        return sum(report.downlink_bytes for report in self.clients.values())
