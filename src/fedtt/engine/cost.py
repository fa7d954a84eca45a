"""What a method exchanges with a model, from names and shapes alone: no weights are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peft import PeftModel
from peft.utils.error import NoMatchingPeftModuleError
from torch import nn
from transformers import PretrainedConfig

from fedtt import params as p
from fedtt.engine.traffic import ClientRound, mean_of_cycle, simulate_rounds
from fedtt.errors import ModelError
from fedtt.federated.method import Method
from fedtt.federated.types import ServerState
from fedtt.models import build_empty_model
from fedtt.peft import (
    ParameterKind,
    adapt,
    exchanged_parameters,
    keep_in_float32,
    sum_by_kind,
    train_also,
    want_of_memory_explained,
)


@dataclass(frozen=True, kw_only=True)
class MessageCost:
    """One client's share of one round: parameters that can travel, and bytes that do.

    Bytes are lengths of payloads, averaged over rounds where a schedule makes them differ, for a
    client that takes part in every round. The first broadcast, of no values, is counted apart.
    """

    exchanged_parameters: Mapping[str, int]
    uplink_bytes: float
    downlink_bytes: float
    first_downlink_bytes: int

    @property
    def total_parameters(self) -> int:
        """Exchanged parameters of all kinds."""
        return sum(self.exchanged_parameters.values())


def count_message(
    config: PretrainedConfig, method: Method, *, task: str, clients: int = 4
) -> MessageCost:
    """Cost of a round of ``method`` with that base model.

    ``clients`` take part in a round: it matters to methods that send back what all of them sent.

    Puts the adapter into an empty model, which also checks that the two fit. Raises
    :class:`ShapeError` or :class:`ModelError` where they do not.
    """
    model, kinds = empty_adapted(config, method, task=task)
    state = first_state(model, kinds)
    structure = p.structure_of(state.params)
    rounds = simulate_rounds(state, method, clients=clients, structure=structure)
    return message_cost(kinds, state.params, rounds)


def empty_adapted(
    config: PretrainedConfig, method: Method, *, task: str
) -> tuple[PeftModel, dict[str, str]]:
    """The model on the meta device with the adapter in it, and what ``method`` exchanges of it.

    Raises :class:`ShapeError` or :class:`ModelError` where the two do not fit.
    """
    try:
        model = put_into(build_empty_model(config, task=task), method)
    except NoMatchingPeftModuleError as error:
        raise ModelError(
            "the adapter finds no place in the base model",
            where="method.target_modules",
            got=method.adapter.target_modules,
            fix="leave target_modules out where the architecture is known, or name its modules",
        ) from error
    return model, exchanged_kinds(model, method)


def first_state(model: PeftModel, kinds: Mapping[str, str]) -> ServerState:
    """The server's state before the first round, without values."""
    params = {name: tensor for name, tensor in model.named_parameters() if name in kinds}
    return ServerState(next_round=0, params=params)


def message_cost(
    kinds: Mapping[str, str], params: p.Params, rounds: Sequence[ClientRound]
) -> MessageCost:
    """A client's share of a round, given the kinds of what is exchanged and simulated rounds."""
    return MessageCost(
        exchanged_parameters={str(k): n for k, n in sum_by_kind(kinds, params).items()},
        uplink_bytes=mean_of_cycle([r.uplink_bytes for r in rounds]),
        downlink_bytes=mean_of_cycle([r.downlink_bytes for r in rounds]),
        first_downlink_bytes=rounds[0].downlink_bytes,
    )


def put_into(base: nn.Module, method: Method) -> PeftModel:
    """``base``, which it changes, with the adapter of ``method``, ready for the federated loop.

    With what else of the base model the method trains. What is exchanged is float32 throughout,
    whatever type the base model has. Raises :class:`ModelError` for an adapter that does not fit
    into memory, or a part to train that the model has not.
    """
    with want_of_memory_explained():
        model = adapt(base, method.adapter)
        train_also(model, method.also_train)
        keep_in_float32(model, exchanged_kinds(model, method))
    return model


def exchanged_kinds(model: PeftModel, method: Method) -> dict[str, str]:
    """Kind of every parameter that ``method`` exchanges with ``model``, sorted by name."""
    trainable = exchanged_parameters(model)
    exchanged = method.exchanged(trainable)
    _check_linear(model, method.pretrained(exchanged))
    return {name: trainable.get(name, ParameterKind.BASE) for name in sorted(exchanged)}


def _check_linear(model: PeftModel, base_weights: frozenset[str]) -> None:
    """A layer that holds its weight transposed cannot take ``B A`` as it is."""
    for name in sorted(base_weights):
        layer = model.get_submodule(name.removesuffix(".weight"))
        if not isinstance(layer, nn.Linear):
            raise ModelError(
                "fedex-lora adds to the weight of linear layers only",
                where=name,
                got=type(layer).__name__,
                expected="torch.nn.Linear",
                fix="use another method of the LoRA family for this architecture",
            )
