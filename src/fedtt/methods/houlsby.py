"""Houlsby's dense bottleneck adapter (arXiv 1902.00751), averaged."""

from typing import TYPE_CHECKING

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Width

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class AdapterConfig(MethodSection):
    """``[method]`` with ``name = "adapter"``: Houlsby's dense bottleneck adapter."""

    bottleneck: Width = 64
    activation: str = "gelu"
    bias: bool = True
    dropout: Probability = 0.0
    scaling: Positive = 1.0
    target_modules: tuple[str, ...] | None = None


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
