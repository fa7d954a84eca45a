"""From the ``[method]`` and ``[server]`` sections to a method."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import peft
from peft import LoraConfig

from fedtt.config import (
    AdapterConfig,
    FedTTConfig,
    IA3Config,
    LoRAConfig,
    LoRAXSConfig,
    MethodConfig,
    PartOfModelConfig,
    PeftConfig,
    PromptConfig,
    ServerConfig,
    VeRAConfig,
)
from fedtt.errors import ConfigError
from fedtt.federated import method as methods
from fedtt.federated.aggregate import WEIGHTINGS, TrimmedMean, WeightedMean
from fedtt.federated.method import Method
from fedtt.federated.server import ServerOptimizer
from fedtt.models import PEFT_TASK_TYPES
from fedtt.peft import (
    BottleneckAdapterConfig,
    TTAdapterConfig,
    bitfit_config,
    full_config,
    head_config,
    ia3_config,
    p_tuning_config,
    peft_config_from_table,
    prefix_config,
    prompt_config,
    vera_config,
)
from fedtt.peft import LoRAXSConfig as LoRAXSAdapterConfig

T = TypeVar("T")
FEDTT_PLUS_SCHEDULE = "ends+cycle"
LORA_REFERENCE = LoRAConfig(name="lora", rank=8)
PROMPTS: Mapping[str, tuple[Callable[..., peft.PeftConfig], str]] = {
    "prompt": (prompt_config, "arXiv 2104.08691"),
    "prefix": (prefix_config, "arXiv 2101.00190"),
    "p-tuning": (p_tuning_config, "arXiv 2103.10385"),
}
PARTS: Mapping[str, tuple[Callable[[str | None], peft.PeftConfig], str]] = {
    "bitfit": (bitfit_config, "arXiv 2106.10199"),
    "head": (head_config, "the classification head alone"),
    "full": (full_config, "McMahan et al. 2017"),
}


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
        case _:
            adapter, reference = _averaged_adapter(config, task_type=task_type)
            return methods.averaged(
                name=config.name,
                reference=reference,
                adapter=adapter,
                weighting=weighting,
                server=optimizer,
            )


def _averaged_adapter(config: MethodConfig, *, task_type: str) -> tuple[peft.PeftConfig, str]:
    """The adapter, and its paper, of a method that is plain FedAvg of all that it trains."""
    adapter: peft.PeftConfig
    match config:
        case AdapterConfig():
            options = config.model_dump(exclude={"name", "target_modules"})
            targets = _list_or_none(config.target_modules)
            reference = "arXiv 1902.00751"
            adapter = BottleneckAdapterConfig(
                task_type=task_type, target_modules=targets, **options
            )
        case LoRAXSConfig():
            reference = "arXiv 2405.17604, 2502.15436"
            adapter = LoRAXSAdapterConfig(
                task_type=task_type,
                r=config.rank,
                alpha=config.alpha,
                dropout=config.dropout,
                target_modules=_list_or_none(config.target_modules),
            )
        case VeRAConfig():
            reference = "arXiv 2310.11454"
            adapter = vera_config(task_type, r=config.rank, target_modules=config.target_modules)
        case IA3Config():
            reference = "arXiv 2205.05638"
            adapter = ia3_config(
                task_type,
                target_modules=config.target_modules,
                feedforward_modules=config.feedforward_modules,
            )
        case PromptConfig():
            prompt, reference = PROMPTS[config.name]
            adapter = prompt(task_type, num_tokens=config.num_tokens)
        case PartOfModelConfig():
            part, reference = PARTS[config.name]
            adapter = part(task_type)
        case PeftConfig():
            reference = f"PEFT, {config.name}"
            kind = config.name.removeprefix("peft:")
            adapter = peft_config_from_table(kind, config.options, task_type=task_type)
        case _:
            raise AssertionError(f"no method is built from {type(config).__name__}")
    return adapter, reference


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
