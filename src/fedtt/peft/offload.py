"""Base layers whose weights accelerate keeps on the disk, or on the CPU, between their uses.

What lies in such a layer between two forwards is a placeholder on the meta device. An adapter
beside it lies where the layer computes; what is the layer's own cannot be trained.
"""

from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook
from accelerate.utils import align_module_device
from torch import Tensor, nn

from fedtt.errors import ModelError


def offload_hook(module: nn.Module) -> AlignDevicesHook | None:
    """What brings the weights of ``module`` in for a forward; None where they stay."""
    hook: Any = getattr(module, "_hf_hook", None)
    hooks = getattr(hook, "hooks", (hook,))  # several in one
    return next((h for h in hooks if getattr(h, "offload", False)), None)


def compute_device(module: nn.Module) -> torch.device | None:
    """Where an offloaded ``module`` computes; None for any other."""
    hook = offload_hook(module)
    return None if hook is None else torch.device(hook.execution_device)


def weight_of(module: nn.Module) -> Tensor:
    """The weight of a linear layer, read from where it is kept; no copy where it is in place."""
    with align_module_device(module):
        weight: Tensor = module.weight.data  # type: ignore[assignment]
    return weight


def check_trains_in_place(model: nn.Module) -> None:
    """Raise :class:`ModelError` where what is to be trained is a placeholder, without values."""
    for name, module in model.named_modules():
        if offload_hook(module) is None:
            continue
        placeholders = [
            own for own, p in module.named_parameters() if p.requires_grad and p.is_meta
        ]
        if placeholders:
            raise ModelError(
                "an offloaded layer cannot be trained: its weights come and go with every forward",
                where=f"{name}.{placeholders[0]}",
                expected="what is trained on a device, or on the CPU",
                fix="leave that part, a classification head say, out of what device_map offloads; "
                "or a method that leaves the base weights alone",
            )
