"""What of a PEFT model is exchanged, declared by the type of the module that owns it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum

from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTunerLayer
from peft.tuners.vera import VeraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from fedtt.peft.bottleneck import DenseLinear
from fedtt.peft.full import FullModel
from fedtt.peft.lora_xs import LoRAXSLayer
from fedtt.peft.tt_linear import TTLinear


class ParameterKind(StrEnum):
    """What an exchanged parameter is."""

    CORES = "cores"
    ADAPTER = "adapter"
    BIASES = "biases"
    HEAD = "head"
    NORMS = "norms"
    LORA = "lora"
    LORA_XS = "lora_xs"
    PROMPT = "prompt"
    IA3 = "ia3"
    VERA = "vera"
    BASE = "base"
    OTHER = "other"


# What the layers of a tuner add to the base layer that lies inside them.
_ADDED: dict[type[nn.Module], ParameterKind] = {
    LoraLayer: ParameterKind.LORA,
    LoRAXSLayer: ParameterKind.LORA_XS,
    IA3Layer: ParameterKind.IA3,
    VeraLayer: ParameterKind.VERA,
}


def exchanged_parameters(model: nn.Module) -> dict[str, ParameterKind]:
    """Kind of every trainable parameter of ``model``, by the names of ``named_parameters()``.

    Sorted by name; a parameter that several modules share has one name and is there once. Cores
    and biases are those of :class:`TTLinear`, also of a tensorized classifier; the head is whatever
    PEFT trains whole (``modules_to_save``); biases are also those of the bottleneck adapter and,
    where nothing else of its module is trained, of the base model (BitFit).
    """
    owners = dict(_owned_kinds(model))
    return {
        name: owners[name]
        for name, parameter in sorted(model.named_parameters())
        if parameter.requires_grad
    }


def count_by_kind(model: nn.Module) -> dict[ParameterKind, int]:
    """Number of scalars of every kind among the exchanged parameters; kinds with none left out."""
    return sum_by_kind(exchanged_parameters(model), dict(model.named_parameters()))


def sum_by_kind(
    kinds: Mapping[str, ParameterKind], params: Mapping[str, Tensor]
) -> dict[ParameterKind, int]:
    """Number of scalars of the tensors that ``kinds`` names, by kind, in the order of the kinds."""
    counts: Counter[ParameterKind] = Counter()
    for name, kind in kinds.items():
        counts[kind] += params[name].numel()
    return {kind: counts[kind] for kind in ParameterKind if counts[kind]}


def _owned_kinds(
    module: nn.Module, *, prefix: str = "", inherited: ParameterKind | None = None
) -> Iterator[tuple[str, ParameterKind]]:
    """Names under ``module`` with their kinds. ``inherited`` is what an outer module decides."""
    for name, _ in module.named_parameters(recurse=False):
        yield prefix + name, inherited or _kind(module, name)
    for child_name, child in module.named_children():
        decided = _decided(module, child_name, inherited=inherited)
        yield from _owned_kinds(child, prefix=f"{prefix}{child_name}.", inherited=decided)


def _decided(
    module: nn.Module, child_name: str, *, inherited: ParameterKind | None
) -> ParameterKind | None:
    """What ``module`` decides about everything under one of its children; ``None``: nothing."""
    if isinstance(module, ModulesToSaveWrapper):
        return ParameterKind.HEAD
    if isinstance(module, BasePromptEncoder):
        return ParameterKind.PROMPT
    if isinstance(module, FullModel):
        return ParameterKind.BASE
    if isinstance(module, BaseTunerLayer) and child_name == "base_layer":
        # The base layer lies inside the tuner's layer without being part of it.
        return None
    for layer, kind in _ADDED.items():
        if isinstance(module, layer):
            return kind
    return inherited


def _kind(owner: nn.Module, name: str) -> ParameterKind:
    if isinstance(owner, TTLinear):
        return ParameterKind.BIASES if name == "bias" else ParameterKind.CORES
    if isinstance(owner, DenseLinear):
        return ParameterKind.BIASES if name == "bias" else ParameterKind.ADAPTER
    if isinstance(owner, BasePromptEncoder):
        return ParameterKind.PROMPT
    trained = [own for own, p in owner.named_parameters(recurse=False) if p.requires_grad]
    if trained == ["bias"] and name == "bias":
        return ParameterKind.BIASES
    # Every architecture of transformers has its own RMSNorm class, without a common base.
    if "Norm" in type(owner).__name__:
        return ParameterKind.NORMS
    return ParameterKind.OTHER
