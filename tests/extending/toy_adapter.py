"""An adapter from outside: this file, and a method's row that builds its config."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from peft import PeftConfig
from torch import Tensor, nn

from fedtt.methods import MethodEntry, MethodSection, Setting
from fedtt.methods.entry import averaged
from fedtt.peft import AddedLayer, AddedLayerModel, Traits, peft_type, present, register_adapter
from fedtt.peft.tt_linear import add_bias
from fedtt.section import Positive

if TYPE_CHECKING:
    from fedtt.federated.method import Method


@dataclass(kw_only=True)
class ShiftConfig(PeftConfig):  # type: ignore[misc]
    """One trained vector beside every targeted layer: ``h -> h + scale * v``."""

    traits: ClassVar[Traits] = Traits()
    scale: float = field(default=1.0, metadata={"help": "Factor of v."})
    target_modules: list[str] = field(default_factory=lambda: ["output.dense"])
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("SHIFT")


class Shift(nn.Module):
    """``x + scale * v``, with ``v (N)``, or ``v (K, N)`` of ``K`` clients."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.v = nn.Parameter(0.01 * torch.randn(width))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """``x (..., N) -> (..., N)``."""
        return add_bias(x, self.scale * self.v)


class ShiftLayer(AddedLayer):
    """A layer with shifts after it."""

    adapter_layer_names = ("shift_by",)
    added_kind = "shift"
    stacks_clients = True

    def forward(self, x: Tensor) -> Tensor:
        """The base layer's output, shifted."""
        hidden: Tensor = self.base_layer(x)
        names = [] if self.disable_adapters else present(self.active_adapters, self.shift_by)
        for name in names:
            hidden = self.shift_by[name](hidden)
        return hidden


class ShiftModel(AddedLayerModel):
    """PEFT's tuner for :class:`ShiftConfig`."""

    prefix = "shift_"
    tuner_layer_cls = ShiftLayer

    def layer_around(self, config: ShiftConfig, target: nn.Module, name: str) -> ShiftLayer:
        """The layer around any linear one."""
        return ShiftLayer(target)

    def add_to(
        self,
        layer: ShiftLayer,
        adapter_name: str,
        config: ShiftConfig,
        name: str,
    ) -> None:
        """A vector as wide as the layer's output."""
        width = layer.get_base_layer().out_features
        layer.attach(adapter_name, {"shift_by": Shift(width, config.scale)})


register_adapter("SHIFT", config=ShiftConfig, model=ShiftModel)


class ShiftSection(MethodSection):
    """``[method]`` with ``name = "shift"``."""

    scale: Positive = 1.0


def build(section: ShiftSection, setting: Setting) -> "Method":
    """The vectors are averaged."""
    return averaged(ShiftConfig(task_type=setting.task_type, scale=section.scale), setting)


SHIFT = MethodEntry(
    section=ShiftSection,
    adapter="a vector a layer",
    sends="the vectors",
    aggregation="mean, exact",
    reference="a toy of the tests",
    build=build,
)
