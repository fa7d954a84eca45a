"""The values that travel through a round."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedtt.federated.failures import Failure
from fedtt.federated.sent_step import SentStep
from fedtt.params import Params

# name -> (left, right): the parameter's change as a product of two thin matrices.
Factors = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """All that the server needs to run the next round: resuming is calling the round with it.

    ``params`` holds every exchanged parameter of the global model, ``optimizer`` the server
    optimizer's own tensors (none for FedAvg).

    ``changed_at`` maps a parameter to the last round whose server step changed it, ``synced_at`` a
    client to the last round in which it was heard: together they say what a client is missing. One
    that was never heard has the parameters as a run begins with them, since it draws them from the
    same seed; ``strangers`` are clients that draw others. ``start`` is the digest of what the run
    began with.
    ``progress`` maps a parameter to the root mean square of its last aggregated update, which the
    adaptive schedule looks at. ``factors`` are changes of the last step that are cheaper to send as
    two thin factors. ``steps`` are, by round, the last rounds' changes where they are smaller than
    what they changed (in a subspace, or by a codec), as many as are smaller than ``params``
    together: what a client that missed a few is sent. None is missing from round ``steps_since``
    on. ``privacy`` holds, under client-level privacy, the noise
    and the clipping norm of the next round (``fedtt.federated.privacy.client_privacy``).
    ``failures`` are clients whose last replies could not be used.
    """

    next_round: int
    params: Params
    optimizer: Params = field(default_factory=dict)
    changed_at: Mapping[str, int] = field(default_factory=dict)
    synced_at: Mapping[str, int] = field(default_factory=dict)
    progress: Mapping[str, float] = field(default_factory=dict)
    factors: Factors = field(default_factory=dict)
    steps: Mapping[int, SentStep] = field(default_factory=dict)
    steps_since: int = 0
    strangers: frozenset[str] = frozenset()
    start: str = ""
    privacy: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClientUpdate:
    """What one client reports after its local training: ``delta`` = new - old parameters.

    ``loss`` is the mean training loss over its ``num_steps`` local steps, in nats. ``kept`` is the
    optimizer's state, which stays with the client, where it keeps one.
    """

    delta: Params
    num_examples: int
    num_steps: int
    loss: float
    kept: Params = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClientReport:
    """What the record keeps of one client's part in a round (its delta is gone by then)."""

    num_examples: int
    num_steps: int
    loss: float
    uplink_bytes: int
    downlink_bytes: int


@dataclass(frozen=True, kw_only=True)
class SumReport:
    """What is known of a secure sum, of at least ``threshold`` clients, beside the sum.

    ``loss`` is their mean one, by weight, None where there was no sum; ``out_of_range`` is how many
    numbers of theirs together were cut. ``left`` says of those who were asked and did not stay to
    the end at which stage they left.
    """

    threshold: int
    loss: float | None = None
    out_of_range: int = 0
    left: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """What happened in one round; ``clients`` in the order in which they were aggregated.

    ``dropped`` maps every client of the cohort that never answered to its downlink bytes, 0 where
    it was not there to be sent anything. ``unused`` says why the updates changed nothing, if so.
    ``failed`` says of some of the dropped ones what was wrong with what they answered.
    With ``of_sum`` they were summed securely, and of a client only its bytes are known.
    """

    round_index: int
    clients: Mapping[str, ClientReport]
    dropped: Mapping[str, int] = field(default_factory=dict)
    unused: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    of_sum: SumReport | None = None

    @property
    def loss(self) -> float | None:
        """Training loss, weighted by the clients' number of examples; None if nobody answered."""
        if self.of_sum is not None:
            return self.of_sum.loss
        weight = sum(report.num_examples for report in self.clients.values())
        if not weight:
            return None
        return sum(r.loss * r.num_examples for r in self.clients.values()) / weight

    @property
    def uplink_bytes(self) -> int:
        """Bytes that all clients sent to the server."""
        return sum(report.uplink_bytes for report in self.clients.values())

    @property
    def downlink_bytes(self) -> int:
        """Bytes sent to all clients, a broadcast once each; those that never answered included."""
        answered = sum(report.downlink_bytes for report in self.clients.values())
        return answered + sum(self.dropped.values())
