"""VeRA (arXiv 2310.11454) from PEFT, averaged."""

from typing import TYPE_CHECKING

from pydantic import Field

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged
from fedtt.section import Rank

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class VeRAConfig(MethodSection):
    """``[method]`` with ``name = "vera"``: two vectors a layer around a shared random pair."""

    rank: Rank = Field(256, description="of the shared random pair")
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )


def build(section: VeRAConfig, setting: Setting) -> "Method":
    """The vectors are averaged; the pair is the same everywhere."""
    from fedtt.peft import vera_config

    adapter = vera_config(setting.task_type, r=section.rank, target_modules=section.target_modules)
    return averaged(adapter, setting)


VERA = MethodEntry(
    section=VeRAConfig,
    adapter="PEFT's own",
    sends="all",
    aggregation="mean",
    reference="arXiv 2310.11454",
    build=build,
)
