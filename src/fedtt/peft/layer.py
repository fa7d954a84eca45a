"""The modules that the TT adapter puts in place of a model's own linear layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional

from fedtt.errors import ModelError
from fedtt.peft.activation import ACTIVATIONS
from fedtt.peft.linear import TTLinear
from fedtt.tt import TTShape


def merge_refusal() -> ModelError:
    """Why a TT adapter cannot be merged, and what to do instead."""
    return ModelError(
        "a TT adapter cannot be merged into the base weights",
        where="merge",
        got="h -> h + Up(activation(Down(h))), which is not linear in h",
        expected="an adapter that adds a matrix to a weight, such as LoRA",
        fix="keep the adapter directory (save_pretrained) and load it with PeftModel."
        "from_pretrained after `import fedtt`; unload() gives the base model back",
    )


class TTTunerLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]
    """A base layer with TT layers beside it, one set for each adapter name."""

    # Declared for the type checker; PEFT's BaseTunerLayer has them.
    adapter_layer_names: tuple[str, ...]
    active_adapters: list[str]

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    def merge(self, safe_merge: bool = False, adapter_names: Any = None) -> None:  # noqa: FBT001, FBT002, ARG002 (PEFT's signature)
        """Refused. Raises :class:`ModelError`: the adapter is not linear."""
        raise merge_refusal()

    def unmerge(self) -> None:
        """Nothing, because nothing is ever merged."""

    def _attach(self, adapter_name: str, layers: dict[str, TTLinear]) -> None:
        """Add one TT layer for ``adapter_name`` to each named container, where the base layer is.

        The layers keep their float32; PEFT's autocast_adapter_dtype=False casts them afterwards.
        """
        for container, layer in layers.items():
            getattr(self, container)[adapter_name] = layer
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def _move_adapter_to_device_of_base_layer(
        self, adapter_name: str, device: torch.device | None = None
    ) -> None:
        # PEFT's own also casts to the base dtype: loading float32 cores over a bfloat16 base with
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
        if device is None:  # neither `weight` nor `qweight`
            tensors = chain(base.parameters(), base.buffers())
            device = next((tensor.device for tensor in tensors), None)
        return device, dtype

    def cast_adapter(self, adapter_name: str) -> None:
        """Cast the TT layers of ``adapter_name`` to the dtype of the base layer, if it is float."""
        _, dtype = self._base_device_and_dtype()
        for container in self.adapter_layer_names:
            layers = getattr(self, container)
            if adapter_name in layers and dtype is not None and dtype.is_floating_point:
                layers[adapter_name].to(dtype)


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What an adapter does between its two TT layers and after them."""

    activation: str
    dropout: float
    scaling: float


class TTAdapterLayer(TTTunerLayer):
    """``h -> h + scaling * Up(dropout(activation(Down(h))))``, ``h`` being the base layer's output.

    Several active adapters apply one after another, in the order they were activated: each sees
    what the one before it returned. The output has the dtype of the base layer's.
    """

    adapter_layer_names = ("tt_adapter_down", "tt_adapter_up")
    other_param_names = ("tt_adapter_settings",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.tt_adapter_down = nn.ModuleDict()
        self.tt_adapter_up = nn.ModuleDict()
        self.tt_adapter_settings: dict[str, AdapterSettings] = {}

    def add_adapter(
        self,
        adapter_name: str,
        *,
        down: TTShape,
        up: TTShape,
        bias: bool,
        identity: bool,
        settings: AdapterSettings,
    ) -> None:
        """Add an adapter: the matrices of Down and Up at standard deviation 1 / sqrt(inputs).

        ``identity`` zeroes Up's last core, so that the adapter starts as the identity. At the
        first step only that core has a gradient, from the second on every core has.
        """
        self.tt_adapter_settings[adapter_name] = settings
        layers = {
            "tt_adapter_down": TTLinear(down, std=down.in_features**-0.5, bias=bias),
            "tt_adapter_up": TTLinear(
                up, std=up.in_features**-0.5, bias=bias, zero_last_core=identity
            ),
        }
        self._attach(adapter_name, layers)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's output ``(..., hidden)``, adapted."""
        hidden: Tensor = self.base_layer(*args, **kwargs)
        if self.disable_adapters:
            return hidden
        for name in _present(self.active_adapters, self.tt_adapter_down):
            hidden = hidden + self._correction(name, hidden)
        return hidden

    def _correction(self, name: str, hidden: Tensor) -> Tensor:
        settings = self.tt_adapter_settings[name]
        inner = ACTIVATIONS[settings.activation](self.tt_adapter_down[name](hidden))
        inner = functional.dropout(inner, settings.dropout, training=self.training)
        correction: Tensor = self.tt_adapter_up[name](inner)
        # Autocast to another type would raise the sum to float32.
        return (settings.scaling * correction).to(hidden.dtype)


class TTDenseLayer(TTTunerLayer):
    """A TT layer with a bias in place of the classifier's dense layer while its adapter is active.

    Of several active adapters the first one that has such a layer is used, as with PEFT's
    ``modules_to_save``. Disabled, or without an active adapter, it is the base layer.
    """

    adapter_layer_names = ("tt_adapter_dense",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.tt_adapter_dense = nn.ModuleDict()

    def add_adapter(self, adapter_name: str, *, shape: TTShape, std: float) -> None:
        """Add a TT layer whose matrix starts at random with the standard deviation ``std``."""
        self._attach(adapter_name, {"tt_adapter_dense": TTLinear(shape, std=std, bias=True)})

    def forward(self, x: Tensor) -> Tensor:
        """``x (..., hidden) -> (..., hidden)``."""
        names = _present(self.active_adapters, self.tt_adapter_dense)
        layer = self.tt_adapter_dense[names[0]] if names else self.base_layer
        output: Tensor = (self.base_layer if self.disable_adapters else layer)(x)
        return output


def _present(names: Sequence[str], layers: nn.ModuleDict) -> list[str]:
    return [name for name in names if name in layers]
