"""What a whole run of a method costs: bytes through the server, memory on a client, no weights."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from fedtt import params as p
from fedtt.engine.cost import MessageCost, empty_adapted, first_state, message_cost
from fedtt.engine.memory import ClientMemory, count_memory, held_bytes
from fedtt.engine.positions import text_positions
from fedtt.engine.traffic import ServerTraffic, count_traffic, simulate_rounds
from fedtt.errors import ConfigError
from fedtt.federated.method import Method
from fedtt.models import build_empty_model

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
DEFAULT_LENGTH = 128  # tokens, as model.max_length in a configuration


@dataclass(frozen=True, kw_only=True)
class LocalStep:
    """A local training step: so many texts of so many tokens, a base model of that type."""

    batch_size: int
    length: int
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class MethodCost:
    """What a method costs a client in a round, the server in a run, and a client's memory."""

    message: MessageCost
    traffic: ServerTraffic
    memory: ClientMemory


@dataclass(frozen=True, kw_only=True)
class BaseModelCost:
    """Parameters of a base model without adapter, tied ones once; bytes, buffers included."""

    parameters: int
    bytes: int


def count_cost(
    config: PretrainedConfig,
    method: Method,
    *,
    task: str,
    clients: int,
    rounds: int,
    step: LocalStep,
) -> MethodCost:
    """All costs of ``rounds`` rounds of ``method`` that ``clients`` clients all take part in.

    The memory is of the round that trains the most, on a client of the server's own ranks. Raises
    what :func:`count_message` raises, and :class:`ConfigError` for texts longer than the model's
    positions.
    """
    _check_length(config, method, length=step.length)
    model, kinds = empty_adapted(_trainable(config, step.dtype), method, task=task)
    state = first_state(model, kinds)
    structure = p.structure_of(state.params)
    whole = simulate_rounds(state, method, clients=clients, structure=structure)
    sizes = {r.trained: sum(structure[name].num_elements for name in r.trained) for r in whole}
    most = max(sizes, key=lambda trained: sizes[trained])
    return MethodCost(
        message=message_cost(kinds, state.params, whole),
        traffic=count_traffic(state, method, clients=clients, rounds=rounds, whole=whole),
        memory=count_memory(
            model,
            most,
            task=task,
            batch_size=step.batch_size,
            length=step.length,
        ),
    )


def count_base(config: PretrainedConfig, *, task: str, dtype: torch.dtype) -> BaseModelCost:
    """Size of the base model in that type."""
    model = build_empty_model(_trainable(config, dtype), task=task)
    return BaseModelCost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=held_bytes(model),
    )


def default_length(config: PretrainedConfig, methods: Iterable[Method]) -> int:
    """128 tokens, or as many as the model has positions for with every one of the methods."""
    limits = (text_positions(config, method.adapter) for method in methods)
    return max(1, min((DEFAULT_LENGTH, *(limit for limit in limits if limit is not None))))


def _trainable(config: PretrainedConfig, dtype: torch.dtype) -> PretrainedConfig:
    """``config`` as a run loads it: in that type, one label a text, and with a pad token."""
    config = deepcopy(config)
    config.dtype = dtype
    config.problem_type = "single_label_classification"
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = 0
    return config


def _check_length(config: PretrainedConfig, method: Method, *, length: int) -> None:
    positions = text_positions(config, method.adapter)
    if positions is not None and length > positions:
        raise ConfigError(
            "longer texts than the model has positions for",
            where=f"max_length, with method {method.name}",
            got=length,
            expected=f"at most {positions}",
        )
