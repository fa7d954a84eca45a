"""The modules that the TT adapter puts in place of a model's own linear layers."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fedtt.peft.added_layer import AddedLayer, present
from fedtt.peft.mixed_batch import rows_of_adapters
from fedtt.peft.recomputing import may_recompute, recomputes
from fedtt.peft.residual_adapter import AdapterSettings, ResidualAdapterLayer
from fedtt.peft.shared_contraction import shared_contraction
from fedtt.peft.tt_linear import TTLinear, add_bias
from fedtt.tt import TTShape, close_residual, open_residual


class TTAdapterLayer(ResidualAdapterLayer):
    """``h -> h + scaling * Up(dropout(activation(Down(h))))`` with Down and Up in TT form."""

    adapter_layer_names = ("tt_adapter_down", "tt_adapter_up")

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
        self.attach_adapter(
            adapter_name,
            down=TTLinear(down, std=down.in_features**-0.5, bias=bias),
            up=TTLinear(up, std=up.in_features**-0.5, bias=bias, zero_last_core=identity),
            settings=settings,
        )

    def active_trains(self) -> list[TTLinear]:
        """Down and Up of the active adapters."""
        if self.disable_adapters:
            return []
        layers = (getattr(self, container) for container in self.adapter_layer_names)
        active = (own[name] for own in layers for name in present(self.active_adapters, own))
        return [layer for layer in active if isinstance(layer, TTLinear)]

    def _adapted(
        self, hidden: Tensor, down: nn.Module, up: nn.Module, *, settings: AdapterSettings
    ) -> Tensor:
        """As for any bottleneck, with the sums inside the products."""
        if not (isinstance(down, TTLinear) and isinstance(up, TTLinear)) or _is_autocast(hidden):
            return super()._adapted(hidden, down, up, settings=settings)
        left, right = down.sides(hidden)
        clients = left.shape[:-2]  # K or nothing
        rows, thin = open_residual(hidden.reshape(*clients, -1, hidden.shape[-1]), left)
        inner = (thin.mT @ right).reshape(*hidden.shape[:-1], -1)
        inner = inner if down.bias is None else add_bias(inner, down.bias)
        inner = self._between(inner, settings).reshape(*clients, -1, inner.shape[-1])
        left, right = up.sides(inner)
        right = right if settings.scaling == 1 else settings.scaling * right
        total = close_residual(rows, left.mT @ inner.mT, right)
        total = total.reshape(hidden.shape)
        return total if up.bias is None else add_bias(total, settings.scaling * up.bias)


def _is_autocast(x: Tensor) -> bool:
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class TTDenseLayer(AddedLayer):
    """A TT layer with a bias in place of the classifier's dense layer while its adapter is active.

    Of several active adapters the first one that has such a layer is used, as with PEFT's
    ``modules_to_save``. Disabled, or without an active adapter, it is the base layer.
    """

    adapter_layer_names = ("tt_adapter_dense",)
    stacks_clients = True
    tt_adapter_dense: nn.ModuleDict

    def add_adapter(self, adapter_name: str, *, shape: TTShape, std: float) -> None:
        """Add a TT layer whose matrix starts at random with the standard deviation ``std``."""
        self.attach(adapter_name, {"tt_adapter_dense": TTLinear(shape, std=std, bias=True)})

    def forward(self, x: Tensor, *, adapter_names: Sequence[str] | None = None) -> Tensor:
        """``x (..., hidden) -> (..., hidden)``; ``adapter_names`` has one a row."""
        if adapter_names is not None and not self.disable_adapters:
            mixed: Tensor = self.base_layer(x)
            for name, rows in rows_of_adapters(adapter_names, x).items():
                for present_name in present([name], self.tt_adapter_dense):
                    mixed[rows] = self.tt_adapter_dense[present_name](x[rows])
            return mixed
        names = present(self.active_adapters, self.tt_adapter_dense)
        layer = self.tt_adapter_dense[names[0]] if names else self.base_layer
        output: Tensor = (self.base_layer if self.disable_adapters else layer)(x)
        return output


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Modules inside a model: to look for them takes as long as calling some fifty products."""

    adapted: Sequence[TTAdapterLayer]
    may_recompute: Sequence[nn.Module]

    @classmethod
    def of(cls, model: nn.Module) -> "_Parts":
        # Not the model: it is forgotten with its last owner, and must not be held by its own parts.
        modules = [module for module in model.modules() if module is not model]
        return cls(
            adapted=[module for module in modules if isinstance(module, TTAdapterLayer)],
            may_recompute=[module for module in modules if may_recompute(module)],
        )


_PARTS: WeakKeyDictionary[nn.Module, _Parts] = WeakKeyDictionary()


def contracted_together(model: nn.Module) -> AbstractContextManager[None]:
    """For one forward of a training step: the trains of all layers are contracted together.

    The numbers are those of layer by layer, up to rounding, in a third fewer calls. Nothing
    changes where gradients are off, where a model has no TT adapter, and where it recomputes
    activations: what the backward recomputes it recomputes layer by layer. Who recomputes parts by
    other means, shards parameters, or takes the backward in several parts does without. Layers that
    were put into ``model`` after its first time here contract their own.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return nullcontext()
    if model not in _PARTS:
        _PARTS[model] = _Parts.of(model)
    parts = _PARTS[model]
    if not parts.adapted or any(map(recomputes, [model, *parts.may_recompute])):
        return nullcontext()
    return shared_contraction(train for layer in parts.adapted for train in layer.active_trains())
