"""What a method exchanges with a model, from names and shapes alone: no weights are loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peft import PeftModel
from peft.utils.error import NoMatchingPeftModuleError
from torch import nn
from transformers import PretrainedConfig

from fedtt import params as p
from fedtt.errors import ModelError
from fedtt.federated.broadcast import broadcast_for, broadcast_length
from fedtt.federated.methods import Method
from fedtt.federated.names import lora_pairs
from fedtt.federated.types import Factors, ServerState
from fedtt.federated.wire import update_length
from fedtt.models import build_empty_model
from fedtt.peft import ParameterKind, adapt, exchanged_parameters, keep_in_float32, sum_by_kind

# Rounds over which a schedule's messages are averaged: whole cycles of 2, 3, 4, 5 and 6 cores.
ROUNDS = 60
EXAMPLE_CLIENT = "client"


@dataclass(frozen=True, kw_only=True)
class MessageCost:
    """One client's share of one round: parameters that can travel, and bytes that do.

    Bytes are lengths of payloads, averaged over rounds where a schedule makes them differ, for a
    client that takes part in every round. The first broadcast, of everything, is counted apart.
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
    try:
        model = put_into(build_empty_model(config, task=task), method)
    except NoMatchingPeftModuleError as error:
        raise ModelError(
            "the adapter finds no place in the base model",
            where="method.target_modules",
            got=method.adapter.target_modules,
            fix="leave target_modules out where the architecture is known, or name its modules",
        ) from error
    kinds = exchanged_kinds(model, method)
    exchanged = {name: tensor for name, tensor in model.named_parameters() if name in kinds}
    state = ServerState(next_round=0, params=exchanged)
    uplink, downlink = zip(*_rounds(state, method, clients=clients), strict=True)
    return MessageCost(
        exchanged_parameters={str(k): n for k, n in sum_by_kind(kinds, exchanged).items()},
        uplink_bytes=sum(uplink[:-1]) / ROUNDS,
        downlink_bytes=sum(downlink[1:]) / ROUNDS,
        first_downlink_bytes=downlink[0],
    )


def put_into(base: nn.Module, method: Method) -> PeftModel:
    """``base``, which it changes, with the adapter of ``method``, ready for the federated loop.

    What is exchanged is float32 throughout, whatever type the base model has.
    """
    model = adapt(base, method.adapter)
    keep_in_float32(model, exchanged_kinds(model, method))
    return model


def exchanged_kinds(model: PeftModel, method: Method) -> dict[str, ParameterKind]:
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


def _rounds(state: ServerState, method: Method, *, clients: int) -> list[tuple[int, int]]:
    """Uplink and downlink bytes of a client in each of the first rounds; no values are needed."""
    structure = p.structure_of(state.params)
    factors = _residual_factors(state.params, method, clients=clients)
    sizes = []
    for round_index in range(ROUNDS + 1):
        trained = method.trained(state)
        broadcast = broadcast_for(
            state,
            client_id=EXAMPLE_CLIENT,
            trained=trained,
            pretrained=method.pretrained(state.params),
        )
        uplink = update_length({name: structure[name] for name in sorted(trained)})
        sizes.append((uplink, broadcast_length(broadcast, structure=structure)))
        state = replace(
            state,
            next_round=round_index + 1,
            changed_at={**state.changed_at, **dict.fromkeys({*trained, *factors}, round_index)},
            synced_at={EXAMPLE_CLIENT: round_index},
            factors=factors,
        )
    return sizes


def _residual_factors(params: p.Params, method: Method, *, clients: int) -> Factors:
    """Empty factors of the sizes in which a round of ``clients`` changes the base weights."""
    factors = {}
    for pair in lora_pairs(params) if method.shifts_base else ():
        a, b = params[pair.a], params[pair.b]
        rank = (clients + 1) * a.shape[0]
        factors[pair.base_weight] = (b.new_empty(b.shape[0], rank), a.new_empty(rank, a.shape[1]))
    return factors
