"""What of a PEFT model is exchanged, declared by the module that owns it or by one around it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from peft.tuners.ia3 import IA3Layer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTunerLayer
from peft.tuners.vera import VeraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from fedtt.peft.kinds import ParameterKind

# What modules of PEFT's hold, which cannot declare it themselves. Ours have ``added_kind``.
_OF_PEFT: Mapping[type, str] = {
    ModulesToSaveWrapper: ParameterKind.HEAD,
    BasePromptEncoder: ParameterKind.PROMPT,
    LoraLayer: ParameterKind.LORA,
    IA3Layer: ParameterKind.IA3,
    VeraLayer: ParameterKind.VERA,
}


def exchanged_parameters(model: nn.Module) -> dict[str, str]:
    """Kind of every trainable parameter of ``model``, by the names of ``named_parameters()``.

    Sorted by name; a parameter that several modules share has one name and is there once. A module
    that has ``added_kind`` decides about all in it but its base layer; one that has
    ``kind_of(name)`` about its own parameters. The head is whatever PEFT trains whole
    (``modules_to_save``); biases are also those of the base model, where nothing else of their
    module is trained (BitFit).
    """
    owners = dict(_owned_kinds(model))
    return {
        name: owners[name]
        for name, parameter in sorted(model.named_parameters())
        if parameter.requires_grad
    }


def count_by_kind(model: nn.Module) -> dict[str, int]:
    """Number of scalars of every kind among the exchanged parameters; kinds with none left out."""
    return sum_by_kind(exchanged_parameters(model), dict(model.named_parameters()))


def sum_by_kind(kinds: Mapping[str, str], params: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of scalars of the tensors that ``kinds`` names, by kind, in the order of the kinds."""
    counts: Counter[str] = Counter()
    for name, kind in kinds.items():
        counts[kind] += params[name].numel()
    order = [*ParameterKind, *sorted(set(counts) - set(ParameterKind))]
    return {kind: counts[kind] for kind in order if counts[kind]}


def _owned_kinds(
    module: nn.Module, *, prefix: str = "", inherited: str | None = None
) -> Iterator[tuple[str, str]]:
    """Names under ``module`` with their kinds. ``inherited`` is what an outer module decides."""
    inside = _added_kind(module) or inherited
    for name, _ in module.named_parameters(recurse=False):
        yield prefix + name, inside or _kind(module, name)
    for child_name, child in module.named_children():
        # The base layer lies inside the tuner's layer without being part of it.
        is_base = child_name == "base_layer" and isinstance(module, BaseTunerLayer)
        decided = None if is_base else inside
        yield from _owned_kinds(child, prefix=f"{prefix}{child_name}.", inherited=decided)


def _added_kind(module: nn.Module) -> str | None:
    declared: str | None = getattr(type(module), "added_kind", None)
    known = (_OF_PEFT[cls] for cls in type(module).__mro__ if cls in _OF_PEFT)
    return declared or next(known, None)


def _kind(owner: nn.Module, name: str) -> str:
    kind_of: Callable[[str], str] | None = getattr(type(owner), "kind_of", None)
    if kind_of is not None:
        return kind_of(name)
    trained = [own for own, p in owner.named_parameters(recurse=False) if p.requires_grad]
    if trained == ["bias"] and name == "bias":
        return ParameterKind.BIASES
    # Every architecture of transformers has its own RMSNorm class, without a common base.
    if "Norm" in type(owner).__name__:
        return ParameterKind.NORMS
    return ParameterKind.OTHER
