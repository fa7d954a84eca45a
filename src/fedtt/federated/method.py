"""A method is a value: adapter x schedule x aggregation x server step.

Each function below builds one method from plain arguments and cites its paper.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from peft import LoraConfig, PeftConfig

from fedtt.errors import ConfigError
from fedtt.federated.aggregate import Aggregation, WeightedMean, Weighting
from fedtt.federated.lora_aggregate import ProductSVD, ResidualIntoBase
from fedtt.federated.names import is_lora_a, is_lora_b, lora_pairs
from fedtt.federated.schedule import SCHEDULES, Schedule, all_parameters, alternate_lora
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.tt_aggregate import TTRounding
from fedtt.federated.types import ServerState
from fedtt.params import Structure, TensorSpec
from fedtt.peft import TTAdapterConfig


def _no_name(name: str) -> bool:  # noqa: ARG001
    return False


@dataclass(frozen=True, kw_only=True)
class Method:
    """A federated fine-tuning method, complete but for the model, the data and the optimizer.

    ``stays_home`` says of a trainable parameter that it is never exchanged, nor trained: every
    site has it from the same seed. ``shifts_base`` says of a base weight that the server changes
    it, so it is part of the exchange. ``client_ranks``, if any, are LoRA ranks of the clients in
    turn.
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


def fedtt(
    *,
    name: str,
    adapter: TTAdapterConfig,
    schedule: str,
    weighting: Weighting,
    server: ServerOptimizer,
) -> Method:
    """FedTT and FedTT+ (arXiv 2410.13097): TT adapters, mean of the cores that the schedule trains.

    ``fedtt`` trains all of them, ``fedtt+`` some. ``fedtt-round`` (ours) trains all and averages
    the matrices instead of the cores, by TT addition and rounding.
    """
    rounding = name == "fedtt-round"
    return Method(
        name=name,
        reference="arXiv 2410.13097" if not rounding else "TT-rounding; Oseledets 2011",
        adapter=adapter,
        schedule=SCHEDULES[schedule],
        aggregation=TTRounding() if rounding else WeightedMean(),
        weighting=weighting,
        server=_plain(server, name) if rounding else server,
    )


def lora(
    *,
    name: str,
    adapter: LoraConfig,
    client_ranks: Sequence[int],
    weighting: Weighting,
    server: ServerOptimizer,
) -> Method:
    """LoRA from PEFT, federated in one of five ways.

    ``lora``: FedAvg of A and B one by one (FedIT, arXiv 2305.05644). ``ffa-lora``: A stays as it
    was drawn, B is averaged, exactly (arXiv 2403.12313). ``rolora``: B and A in turn, exactly
    (arXiv 2502.01755). ``fedex-lora``: the base weight takes what the mean factors miss (arXiv
    2410.09432). ``flexlora``: SVD of the mean product, clients of different ranks (arXiv
    2402.11505).
    """
    references = {
        "lora": "arXiv 2305.05644",
        "ffa-lora": "arXiv 2403.12313",
        "rolora": "arXiv 2502.01755",
        "fedex-lora": "arXiv 2410.09432",
        "flexlora": "arXiv 2402.11505",
    }
    aggregations: dict[str, Aggregation] = {
        "fedex-lora": ResidualIntoBase(scale=adapter.lora_alpha / adapter.r),
        "flexlora": ProductSVD(),
    }
    return Method(
        name=name,
        reference=references[name],
        adapter=adapter,
        schedule=alternate_lora if name == "rolora" else all_parameters,
        aggregation=aggregations.get(name, WeightedMean()),
        weighting=weighting,
        server=_plain(server, name) if name in aggregations else server,
        stays_home=is_lora_a if name == "ffa-lora" else _no_name,
        shifts_base=name == "fedex-lora",
        client_ranks=tuple(client_ranks),
    )


def averaged(
    *,
    name: str,
    reference: str,
    adapter: PeftConfig,
    weighting: Weighting,
    server: ServerOptimizer,
) -> Method:
    """FedAvg of whatever ``adapter`` trains, all of it in every round."""
    return Method(
        name=name, reference=reference, adapter=adapter, weighting=weighting, server=server
    )


def _plain(server: ServerOptimizer, name: str) -> ServerOptimizer:
    """``server``, which must be plain FedAvg: the aggregate is a point, not a direction."""
    if server.name != "fedavg" or server.learning_rate != 1.0:
        raise ConfigError(
            f"{name} sets the global model to the aggregate itself",
            where="server",
            got=f"optimizer {server.name}, learning_rate {server.learning_rate}",
            expected="optimizer fedavg, learning_rate 1",
            fix="leave the server's optimizer and learning rate at their defaults",
        )
    return server


def _with_rank(name: str, spec: TensorSpec, rank: int) -> TensorSpec:
    rows, *columns = spec.shape
    if is_lora_a(name):
        return TensorSpec(shape=(min(rank, rows), *columns), dtype=spec.dtype)
    if is_lora_b(name):
        return TensorSpec(shape=(rows, min(rank, columns[0])), dtype=spec.dtype)
    return spec
