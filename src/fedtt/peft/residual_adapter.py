"""The residual bottleneck that the TT adapter and Houlsby's adapter share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from fedtt.peft.activation import ACTIVATIONS
from fedtt.peft.added_layer import AddedLayer, present
from fedtt.peft.mixed_batch import rows_of_adapters


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What an adapter does between its two layers and after them."""

    activation: str
    dropout: float
    scaling: float

    @classmethod
    def of(cls, config: Any) -> "AdapterSettings":
        """Those that a config of a residual adapter names."""
        return cls(activation=config.activation, dropout=config.dropout, scaling=config.scaling)


class ResidualAdapterLayer(AddedLayer):
    """``h -> h + scaling * Up(dropout(activation(Down(h))))``, ``h`` being the base layer's output.

    ``adapter_layer_names`` of a subclass names the containers of Down and Up, in this order.
    Several active adapters apply one after another, in the order they were activated: each sees
    what the one before it returned. The output has the dtype of the base layer's.
    """

    other_param_names = ("adapter_settings",)
    stacks_clients = True

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.adapter_settings: dict[str, AdapterSettings] = {}

    def attach_adapter(
        self, adapter_name: str, *, down: nn.Module, up: nn.Module, settings: AdapterSettings
    ) -> None:
        """Add the adapter of these two layers."""
        self.adapter_settings[adapter_name] = settings
        self.attach(adapter_name, dict(zip(self.adapter_layer_names, (down, up), strict=True)))

    def forward(
        self, *args: Any, adapter_names: Sequence[str] | None = None, **kwargs: Any
    ) -> Tensor:
        """The base layer's output ``(..., hidden)``, adapted; ``adapter_names`` has one a row."""
        hidden: Tensor = self.base_layer(*args, **kwargs)
        if self.disable_adapters:
            return hidden
        if adapter_names is not None:
            mixed = hidden.clone()
            for name, rows in rows_of_adapters(adapter_names, hidden).items():
                mixed[rows] = self._through([name], hidden[rows])
            return mixed
        return self._through(self.active_adapters, hidden)

    def _through(self, names: Sequence[str], hidden: Tensor) -> Tensor:
        """``hidden`` through one of the named adapters after another."""
        downs, ups = (getattr(self, container) for container in self.adapter_layer_names)
        for name in present(names, downs):
            settings = self.adapter_settings[name]
            hidden = self._adapted(hidden, downs[name], ups[name], settings=settings)
        return hidden

    def _adapted(
        self, hidden: Tensor, down: nn.Module, up: nn.Module, *, settings: AdapterSettings
    ) -> Tensor:
        correction: Tensor = up(self._between(down(hidden), settings))
        # Autocast to another type would raise the sum to float32.
        return hidden + (settings.scaling * correction).to(hidden.dtype)

    def _between(self, inner: Tensor, settings: AdapterSettings) -> Tensor:
        """What happens between Down and Up."""
        inner = ACTIVATIONS[settings.activation](inner)
        return functional.dropout(inner, settings.dropout, training=self.training)
