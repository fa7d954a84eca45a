"""Methods that train a part of the base model itself: its biases, its head, or everything."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class PartOfModelConfig(MethodSection):
    """``[method]`` of the methods that train a part of the base model itself."""


def build_bitfit(section: PartOfModelConfig, setting: Setting) -> "Method":  # noqa: ARG001
    """Every bias."""
    from fedtt.peft import bitfit_config

    return averaged(bitfit_config(setting.task_type), setting)


def build_head(section: PartOfModelConfig, setting: Setting) -> "Method":  # noqa: ARG001
    """The classification head alone."""
    from fedtt.peft import head_config

    return averaged(head_config(setting.task_type), setting)


def build_full(section: PartOfModelConfig, setting: Setting) -> "Method":  # noqa: ARG001
    """Everything: FedAvg as it was first."""
    from fedtt.peft import full_config

    return averaged(full_config(setting.task_type), setting)


BITFIT = MethodEntry(
    section=PartOfModelConfig,
    adapter="none",
    sends="the base model's biases",
    aggregation="mean",
    reference="arXiv 2106.10199",
    build=build_bitfit,
)
HEAD = replace(BITFIT, sends="the head", reference="McMahan et al. 2017", build=build_head)
FULL = replace(HEAD, sends="everything", build=build_full)
