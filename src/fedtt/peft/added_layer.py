"""What the layers that adapters put in place of a model's own have in common."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from fedtt.errors import ModelError
from fedtt.peft.offload import compute_device


def merge_refusal() -> ModelError:
    """Why an adapter with a bottleneck cannot be merged, and what to do instead."""
    return ModelError(
        "a bottleneck adapter, a TT adapter among them, cannot be merged into the base weights",
        where="merge",
        got="h -> h + Up(activation(Down(h))), which is not linear in h",
        expected="an adapter that adds a matrix to a weight, such as LoRA",
        fix="keep the adapter directory (save_pretrained) and load it with PeftModel."
        "from_pretrained after `import fedtt`; unload() gives the base model back",
    )


class AddedLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A base layer with layers of an adapter beside it, one set for each adapter name.

    ``adapter_layer_names`` of a subclass names the containers of these layers. Two more things it
    may declare: ``added_kind``, the kind of all parameters in them (where they do not have a
    ``kind_of`` of their own); and ``stacks_clients``, that its forward takes them with a leading
    client dimension, as fedtt.tt's and fedtt.peft's linear layers and torch's do.
    """

    # Declared for the type checker; PEFT's BaseTunerLayer has them.
    adapter_layer_names: tuple[str, ...]
    active_adapters: list[str]
    stacks_clients: ClassVar[bool] = False

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        for container in self.adapter_layer_names:
            setattr(self, container, nn.ModuleDict())

    def merge(self, safe_merge: bool = False, adapter_names: Any = None) -> None:  # noqa: FBT001, FBT002, ARG002 (PEFT's signature)
        """Refused. Raises :class:`ModelError`: the adapter is not linear."""
        raise merge_refusal()

    def unmerge(self) -> None:
        """Nothing, because nothing is ever merged."""

    def attach(self, adapter_name: str, layers: Mapping[str, nn.Module]) -> None:
        """Add one layer for ``adapter_name`` to each named container, where the base layer is.

        The layers keep their float32; PEFT's autocast_adapter_dtype=False casts them afterwards.
        """
        for container, layer in layers.items():
            getattr(self, container)[adapter_name] = layer
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        # PEFT's own also casts to the base dtype: loading float32 values over a bfloat16 base with
        # low_cpu_mem_usage=True would round them.
        target = device if device is not None else self._base_device_and_dtype()[0]
        for container in self.adapter_layer_names:
            layers = getattr(self, container)
            if target is None or adapter_name not in layers:
                continue
            if not any(parameter.is_meta for parameter in layers[adapter_name].parameters()):
                layers[adapter_name].to(target)

    def _base_device_and_dtype(self) -> tuple[torch.device | None, torch.dtype | None]:
        base = BaseTunerLayer.get_base_layer(self)
        device, dtype = BaseTunerLayer._get_base_layer_device_and_dtype(self, base)
        device = compute_device(base) or device
        if device is None:  # neither `weight` nor `qweight`
            tensors: chain[Tensor] = chain(base.parameters(), base.buffers())
            device = next((tensor.device for tensor in tensors), None)
        return device, dtype

    def cast_adapter(self, adapter_name: str) -> None:
        """Cast the layers of ``adapter_name`` to the dtype of the base layer, if it is float."""
        _, dtype = self._base_device_and_dtype()
        for container in self.adapter_layer_names:
            layers = getattr(self, container)
            if adapter_name in layers and dtype is not None and dtype.is_floating_point:
                layers[adapter_name].to(dtype)


def present(names: Sequence[str], layers: nn.ModuleDict) -> list[str]:
    """Those of the adapter ``names`` that have a layer, in their order."""
    return [name for name in names if name in layers]
