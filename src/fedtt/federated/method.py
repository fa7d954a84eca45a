"""A method is a value: adapter x schedule x aggregation x server step x wire codec."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from peft import PeftConfig

from fedtt.federated.aggregate.aggregation import Aggregation, Weighting
from fedtt.federated.aggregate.update_limits import NO_LIMITS, UpdateLimits
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.parameter_names import is_lora_a, is_lora_b, lora_pairs
from fedtt.federated.schedules import Schedule
from fedtt.federated.schedules.everything import all_parameters
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import Subspace
from fedtt.federated.types import ServerState
from fedtt.federated.wire.codec import Codec
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Structure, TensorSpec


def _no_name(name: str) -> bool:  # noqa: ARG001
    return False


@dataclass(frozen=True, kw_only=True)
class Method:
    """A federated fine-tuning method, complete but for the model, the data and the optimizer.

    ``stays_home`` says of a trainable parameter that it is never exchanged, nor trained: every
    site has it from the same seed. ``shifts_base`` says of a base weight that the server changes
    it, so it is part of the exchange. ``client_ranks``, if any, are LoRA ranks of the clients in
    turn. ``codec`` is what updates travel in; with ``error_feedback`` a client adds what it lost of
    one to the next. ``downlink`` is what the server's own steps travel in. ``also_train`` are parts
    of the base model that train and travel beside the adapter (``fedtt.peft.train_also``). With a
    ``subspace``, what the schedule chooses moves by the few numbers of it, and those are what
    trains, travels and is aggregated. ``limits`` hold for every update before the aggregation sees
    it.
    """

    name: str
    reference: str
    adapter: PeftConfig
    weighting: Weighting
    server: ServerOptimizer
    schedule: Schedule = all_parameters
    aggregation: Aggregation = field(default_factory=WeightedMean)
    stays_home: Callable[[str], bool] = _no_name
    shifts_base: bool = False
    client_ranks: Sequence[int] = ()
    codec: Codec = PLAIN
    error_feedback: bool = False
    downlink: Codec = PLAIN
    also_train: frozenset[str] = frozenset()
    subspace: Subspace | None = None
    limits: UpdateLimits = NO_LIMITS

    @property
    def limited_aggregation(self) -> Aggregation:
        """What takes the updates of a round."""
        return self.limits.around(self.aggregation)

    @property
    def keeps_steps(self) -> bool:
        """Whether the server's steps travel, and not the values that they change."""
        return self.subspace is not None or self.downlink != PLAIN

    def exchanged(self, trainable: Iterable[str]) -> frozenset[str]:
        """Names of what is exchanged, given what the adapter made trainable."""
        names = [name for name in trainable if not self.stays_home(name)]
        return frozenset(names) | self.pretrained(names)

    def trained(self, state: ServerState) -> frozenset[str]:
        """What the clients train and send in the next round."""
        return self.schedule(state) - self.pretrained(state.params)

    def pretrained(self, names: Collection[str]) -> frozenset[str]:
        """Those exchanged parameters that every client has from the pretrained model."""
        pairs = lora_pairs(names) if self.shifts_base else ()
        return frozenset(pair.base_weight for pair in pairs)

    def client_structure(self, structure: Structure, position: int) -> Structure:
        """What the client at ``position`` of the population knows of the global parameters."""
        if not self.client_ranks:
            return structure
        rank = self.client_ranks[position % len(self.client_ranks)]
        return {name: _with_rank(name, spec, rank) for name, spec in structure.items()}


def _with_rank(name: str, spec: TensorSpec, rank: int) -> TensorSpec:
    rows, *columns = spec.shape
    if is_lora_a(name):
        return TensorSpec(shape=(min(rank, rows), *columns), dtype=spec.dtype)
    if is_lora_b(name):
        return TensorSpec(shape=(rows, min(rank, columns[0])), dtype=spec.dtype)
    return spec
