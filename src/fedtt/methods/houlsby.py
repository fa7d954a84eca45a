"""Houlsby's dense bottleneck adapter (arXiv 1902.00751), averaged."""

from typing import TYPE_CHECKING

from pydantic import Field

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Width

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class AdapterConfig(MethodSection):
    """``[method]`` with ``name = "adapter"``: Houlsby's dense bottleneck adapter."""

    bottleneck: Width = Field(64, description="width between Down and Up")
    activation: str = Field("gelu", description="between Down and Up")
    bias: bool = Field(default=True, description="of both layers, trained and sent")
    dropout: Probability = Field(0.0, description="of the adapter")
    scaling: Positive = Field(1.0, description="factor of what the adapter adds")
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )


def build(section: AdapterConfig, setting: Setting) -> "Method":
    """All of the adapter is averaged."""
    from fedtt.peft import BottleneckAdapterConfig

    adapter = BottleneckAdapterConfig(
        task_type=setting.task_type,
        bottleneck=section.bottleneck,
        activation=section.activation,
        bias=section.bias,
        dropout=section.dropout,
        scaling=section.scaling,
        target_modules=list_or_none(section.target_modules),
    )
    return averaged(adapter, setting)


ADAPTER = MethodEntry(
    section=AdapterConfig,
    adapter="Houlsby's bottleneck",
    sends="all",
    aggregation="mean",
    reference="arXiv 1902.00751",
    build=build,
)
