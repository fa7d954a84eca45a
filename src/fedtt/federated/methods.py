"""A method is a value: adapter x schedule x aggregation x server step.

Each function below builds one method from plain arguments and cites its paper.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, Self, TypeVar

from peft import LoraConfig, PeftConfig

from fedtt.federated.aggregate import WEIGHTINGS, WeightedMean, Weighting
from fedtt.federated.schedule import Schedule, all_parameters
from fedtt.federated.server import fedavg_step
from fedtt.federated.types import ServerState
from fedtt.params import Params
from fedtt.peft import TTAdapterConfig

T = TypeVar("T")


class Aggregation(Protocol):
    """One client update after another goes in; their aggregate comes out."""

    def include(self, delta: Params, *, weight: float) -> Self:
        """The aggregation with one more client in it."""
        ...

    def result(self, *, like: Params) -> Params:
        """The aggregated delta, in the types of ``like``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Method:
    """A federated fine-tuning method, complete but for the model, the data and the optimizer."""

    name: str
    reference: str
    adapter: PeftConfig
    schedule: Schedule
    weighting: Weighting
    aggregation: Aggregation
    server_step: Callable[[ServerState, Params], ServerState]


def fedtt(
    *,
    task_type: str | None,
    rank: int | tuple[int, ...],
    bottleneck: int,
    activation: str,
    bias: bool,
    dropout: float,
    scaling: float,
    in_modes: tuple[int, ...] | None,
    out_modes: tuple[int, ...] | None,
    tensorize_classifier: bool,
    target_modules: tuple[str, ...] | None,
    weighting: str,
    server_learning_rate: float,
) -> Method:
    """FedTT: TT adapters, all cores every round, mean of cores (arXiv 2410.13097)."""
    adapter = TTAdapterConfig(
        task_type=task_type,
        rank=rank,
        bottleneck=bottleneck,
        activation=activation,
        bias=bias,
        dropout=dropout,
        scaling=scaling,
        in_modes=_list_or_none(in_modes),
        out_modes=_list_or_none(out_modes),
        tensorize_classifier=tensorize_classifier,
        target_modules=_list_or_none(target_modules),
    )
    return _average_everything(
        "fedtt",
        "arXiv 2410.13097",
        adapter,
        weighting=weighting,
        server_learning_rate=server_learning_rate,
    )


def lora(
    *,
    task_type: str | None,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: tuple[str, ...] | None,
    weighting: str,
    server_learning_rate: float,
) -> Method:
    """FedAvg of LoRA's A and B, one by one (FedIT, arXiv 2305.05644); LoRA from PEFT itself."""
    adapter = LoraConfig(
        task_type=task_type,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_list_or_none(target_modules),
    )
    return _average_everything(
        "lora",
        "arXiv 2305.05644",
        adapter,
        weighting=weighting,
        server_learning_rate=server_learning_rate,
    )


def _average_everything(
    name: str,
    reference: str,
    adapter: PeftConfig,
    *,
    weighting: str,
    server_learning_rate: float,
) -> Method:
    return Method(
        name=name,
        reference=reference,
        adapter=adapter,
        schedule=all_parameters,
        weighting=WEIGHTINGS[weighting],
        aggregation=WeightedMean(),
        server_step=partial(fedavg_step, learning_rate=server_learning_rate),
    )


def _list_or_none(values: Iterable[T] | None) -> list[T] | None:
    return None if values is None else list(values)
