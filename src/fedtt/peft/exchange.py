"""What of a PEFT model is exchanged, declared by the type of the module that owns it."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn

from fedtt.peft.linear import TTLinear


class ParameterKind(StrEnum):
    """What an exchanged parameter is."""

    CORES = "cores"
    BIASES = "biases"
    HEAD = "head"
    NORMS = "norms"
    LORA = "lora"
    BASE = "base"
    OTHER = "other"


def exchanged_parameters(model: nn.Module) -> dict[str, ParameterKind]:
    """Kind of every trainable parameter of ``model``, by the names of ``named_parameters()``.

    Sorted by name. Cores and biases are those of :class:`TTLinear`, also of a tensorized
    classifier; the head is whatever PEFT trains whole (``modules_to_save``).
    """
    owners = dict(_owned_kinds(model))
    return {
        name: owners[name]
        for name, parameter in sorted(model.named_parameters())
        if parameter.requires_grad
    }


def count_by_kind(model: nn.Module) -> dict[ParameterKind, int]:
    """Number of scalars of every kind among the exchanged parameters; kinds with none left out."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    counts: Counter[ParameterKind] = Counter()
    for name, kind in exchanged_parameters(model).items():
        counts[kind] += sizes[name]
    return {kind: counts[kind] for kind in ParameterKind if counts[kind]}


def _owned_kinds(
    module: nn.Module, *, prefix: str = "", inherited: ParameterKind | None = None
) -> Iterator[tuple[str, ParameterKind]]:
    """Names under ``module`` with their kinds. ``inherited`` is what an outer wrapper decides."""
    for name, _ in module.named_parameters(recurse=False):
        yield prefix + name, inherited or _kind(module, name)
    for child_name, child in module.named_children():
        decided = inherited
        if isinstance(module, ModulesToSaveWrapper):
            decided = ParameterKind.HEAD
        elif isinstance(module, LoraLayer):
            # The base layer lies inside the LoRA layer without being part of it.
            decided = None if child_name == "base_layer" else ParameterKind.LORA
        yield from _owned_kinds(child, prefix=f"{prefix}{child_name}.", inherited=decided)


def _kind(owner: nn.Module, name: str) -> ParameterKind:
    if isinstance(owner, TTLinear):
        return ParameterKind.BIASES if name == "bias" else ParameterKind.CORES
    # Every architecture of transformers has its own RMSNorm class, without a common base.
    if "Norm" in type(owner).__name__:
        return ParameterKind.NORMS
    return ParameterKind.OTHER
