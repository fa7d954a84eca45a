"""The part of a classification head that is trained whole beside a tensorized dense layer.

PEFT trains the whole ``classifier`` (RoBERTa-base: 592,130 parameters with 2 labels). With its
dense layer in TT form only what is left of it is to be trained whole: the final projection (1,538).
"""

from collections.abc import Iterable, Sequence

from peft.utils import ModulesToSaveWrapper
from torch import nn

# What PEFT calls the base model. It matches `modules_to_save` by the end of a name, and no ending
# tells DistilBERT's `classifier` from its `pre_classifier`: whole names do.
_ROOT = "base_model.model."


def narrow_modules_to_save(
    entries: Sequence[str] | None, *, dense: str, model: nn.Module
) -> list[str] | None:
    """``modules_to_save`` without the module ``dense``.

    An entry that would wrap ``dense``, or a module it lies in, gives way to the whole names
    (``base_model.model...``) of everything else it would wrap. The result narrows to itself.
    """
    if entries is None:
        return None
    names = [name for name, _ in model.named_modules() if name]
    kept: list[str] = []
    for entry in entries:
        matched = [name for name in names if (_ROOT + name).endswith(entry)]
        if any(_is_within(dense, name) for name in matched):
            rest = (part for name in matched for part in _without(dense, name, model))
            kept += [_ROOT + part for part in rest]
        else:
            kept.append(entry)
    return list(dict.fromkeys(kept))


def wrap_whole_names(
    entries: Iterable[str], *, model: nn.Module, adapter_name: str, active: bool, frozen: bool
) -> None:
    """Train whole, for ``adapter_name``, the modules that ``entries`` give by their whole name.

    Changes ``model``: PEFT's wrapper takes the place of each module, as PEFT itself does for
    entries it matches.
    """
    for entry in entries:
        if not entry.startswith(_ROOT):
            continue
        parent_name, _, child = entry.removeprefix(_ROOT).rpartition(".")
        parent = model.get_submodule(parent_name)
        module = parent.get_submodule(child)
        if isinstance(module, ModulesToSaveWrapper):
            module.update(adapter_name)
            continue
        wrapper = ModulesToSaveWrapper(module, adapter_name)
        wrapper.set_adapter(adapter_name if active else [], inference_mode=frozen)
        setattr(parent, child, wrapper)


def _is_within(name: str, ancestor: str) -> bool:
    return name == ancestor or name.startswith(f"{ancestor}.")


def _without(dense: str, name: str, model: nn.Module) -> list[str]:
    """Names of the largest modules with parameters that make up ``name`` without ``dense``."""
    if not _is_within(dense, name):
        return [name]
    if name == dense:
        return []
    children = [
        f"{name}.{child}"
        for child, module in model.get_submodule(name).named_children()
        if any(True for _ in module.parameters())
    ]
    return [part for child in children for part in _without(dense, child, model)]
