"""Parts of the base model that train in place beside an adapter: its norms, its biases.

For any adapter: PEFT itself offers biases with LoRA alone, and whole modules as copies. Where a
model is saved they lie among the adapter's tensors, under their own names, and PEFT loads them.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from peft import PeftModel
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTunerLayer
from peft.utils import SAFETENSORS_WEIGHTS_NAME, AuxiliaryTrainingWrapper
from safetensors.torch import load_file, save_file
from torch import nn

from fedtt.errors import ModelError
from fedtt.peft.offload import check_trains_in_place

NORMS, BIASES = "norms", "biases"


def train_also(model: PeftModel, parts: Collection[str]) -> None:
    """Make ``parts`` of the base model trainable, of :data:`NORMS` and :data:`BIASES`.

    Biases are all of them, those of norms too. Raises :class:`ModelError` for a part of which
    nothing is left to train: the model has none, or the method trains it already; and for one that
    lies elsewhere (offloaded).
    """
    for part in sorted(parts):
        new = [
            parameter
            for owner, name, parameter in _of_base(model)
            if _is_part(owner, name, part) and parameter.is_floating_point()
        ]
        if all(parameter.requires_grad for parameter in new):
            raise ModelError(
                f"the base model has no {part} that the method does not train already",
                where="method.also_train",
                got=f"{type(model.get_base_model()).__name__}: {len(new)} of them",
                fix=f"leave {part!r} out",
            )
        for parameter in new:
            parameter.requires_grad_()
    check_trains_in_place(model)


def also_trained(model: PeftModel, names: Collection[str]) -> frozenset[str]:
    """Those of ``names`` that are parameters of the base model itself, trained in place."""
    own = {id(parameter) for _, _, parameter in _of_base(model)}
    return frozenset(n for n, p in model.named_parameters() if n in names and id(p) in own)


def save_also_trained(model: PeftModel, directory: Path, names: Collection[str]) -> None:
    """Put ``names`` of ``model`` among the tensors of the adapter saved in ``directory``."""
    path = directory / SAFETENSORS_WEIGHTS_NAME
    parameters = dict(model.named_parameters())
    beside = {name: parameters[name].detach().cpu().contiguous() for name in sorted(names)}
    save_file({**load_file(path), **beside}, path, metadata={"format": "pt"})


def _of_base(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Owner, own name and value of every parameter that no adapter and no head brought along."""
    if isinstance(module, AuxiliaryTrainingWrapper | BasePromptEncoder):
        return
    if isinstance(module, BaseTunerLayer):
        yield from _of_base(module.get_base_layer())
        return
    for name, parameter in module.named_parameters(recurse=False):
        yield module, name, parameter
    for child in module.children():
        yield from _of_base(child)


def _is_part(owner: nn.Module, name: str, part: str) -> bool:
    return name.endswith("bias") if part == BIASES else "Norm" in type(owner).__name__
