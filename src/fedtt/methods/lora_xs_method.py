"""LoRA-XS (arXiv 2405.17604), averaged as Fed-SB does (arXiv 2502.15436)."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Rank

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class LoRAXSConfig(MethodSection):
    """``[method]`` with ``name = "lora-xs"``: r x r matrices between frozen singular factors."""

    rank: Rank = Field(16, description="r: of an r x r matrix")
    alpha: Positive = Field(16.0, description="what is added is multiplied by alpha / rank")
    scaling: Positive | None = Field(
        None, description="factor of what is added, in place of `alpha`; left out: alpha / rank"
    )
    frames: Literal["singular", "orthonormal"] = Field(
        "singular", description="`singular`: U S and V, as published; `orthonormal`: U and V"
    )
    dropout: Probability = Field(0.0, description="of the adapter")
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )


def build(section: LoRAXSConfig, setting: Setting) -> "Method":
    """The r x r matrices are averaged: exactly, since the product is linear in them."""
    from fedtt.peft import LoRAXSConfig as LoRAXSAdapterConfig

    adapter = LoRAXSAdapterConfig(
        task_type=setting.task_type,
        r=section.rank,
        alpha=section.alpha,
        scaling=section.scaling,
        frames=section.frames,
        dropout=section.dropout,
        target_modules=list_or_none(section.target_modules),
    )
    return averaged(adapter, setting)


LORA_XS = MethodEntry(
    section=LoRAXSConfig,
    adapter="r x r between frozen singular factors",
    sends="the r x r matrices",
    aggregation="mean, exact (Fed-SB)",
    reference="arXiv 2405.17604, 2502.15436",
    build=build,
)
