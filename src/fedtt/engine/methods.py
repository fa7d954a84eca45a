"""From the ``[method]`` and ``[server]`` sections to a method."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from peft import LoraConfig

from fedtt.config import FedTTConfig, LoRAConfig, MethodConfig, ServerConfig
from fedtt.errors import ConfigError
from fedtt.federated import methods
from fedtt.federated.aggregate import WEIGHTINGS, TrimmedMean, WeightedMean
from fedtt.federated.methods import Method
from fedtt.federated.server import ServerOptimizer
from fedtt.models import PEFT_TASK_TYPES
from fedtt.peft import TTAdapterConfig

T = TypeVar("T")
FEDTT_PLUS_SCHEDULE = "ends+cycle"
LORA_REFERENCE = LoRAConfig(name="lora", rank=8)


def build_method(config: MethodConfig, *, task: str, server: ServerConfig | None = None) -> Method:
    """The method that a ``[method]`` section describes, for a model of that task.

    Raises :class:`ConfigError` for a server that does not go with the method.
    """
    server = server or ServerConfig()
    method = _from_section(config, task_type=PEFT_TASK_TYPES[task], server=server)
    return _with_robust_aggregation(method, server)


def _from_section(config: MethodConfig, *, task_type: str, server: ServerConfig) -> Method:
    weighting = WEIGHTINGS[server.weighting]
    optimizer = ServerOptimizer(
        name=server.optimizer,
        learning_rate=server.learning_rate,
        momentum=server.momentum,
        beta2=server.beta2,
        adaptivity=server.adaptivity,
    )
    match config:
        case FedTTConfig():
            return methods.fedtt(
                name=config.name,
                adapter=_tt_adapter(config, task_type=task_type),
                schedule=_schedule(config),
                weighting=weighting,
                server=optimizer,
            )
        case LoRAConfig():
            return methods.lora(
                name=config.name,
                adapter=LoraConfig(
                    task_type=task_type,
                    r=config.rank,
                    lora_alpha=config.alpha,
                    lora_dropout=config.dropout,
                    target_modules=_list_or_none(config.target_modules),
                ),
                client_ranks=config.ranks,
                weighting=weighting,
                server=optimizer,
            )


def _tt_adapter(config: FedTTConfig, *, task_type: str) -> TTAdapterConfig:
    return TTAdapterConfig(
        task_type=task_type,
        rank=config.rank,
        bottleneck=config.bottleneck,
        activation=config.activation,
        bias=config.bias,
        dropout=config.dropout,
        scaling=config.scaling,
        in_modes=_list_or_none(config.in_modes),
        out_modes=_list_or_none(config.out_modes),
        tensorize_classifier=config.tensorize_classifier,
        target_modules=_list_or_none(config.target_modules),
    )


def _schedule(config: FedTTConfig) -> str:
    default = FEDTT_PLUS_SCHEDULE if config.name == "fedtt+" else "all"
    return config.schedule or default


def _with_robust_aggregation(method: Method, server: ServerConfig) -> Method:
    if server.aggregation == "mean":
        return method
    if not isinstance(method.aggregation, WeightedMean):
        raise ConfigError(
            f"{method.name} brings its own aggregation",
            where="server.aggregation",
            got=server.aggregation,
            expected="mean",
        )
    trim = server.trim if server.aggregation == "trimmed-mean" else 0.5
    return replace(method, aggregation=TrimmedMean(trim=trim))


def _list_or_none(values: Iterable[T] | None) -> list[T] | None:
    return None if values is None else list(values)
