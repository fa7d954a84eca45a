"""IA3 (arXiv 2205.05638) from PEFT, averaged."""

from typing import TYPE_CHECKING

from pydantic import Field

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class IA3Config(MethodSection):
    """``[method]`` with ``name = "ia3"``: one factor a feature."""

    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )
    feedforward_modules: tuple[str, ...] | None = Field(
        None,
        description="those of `target_modules` whose input is scaled; left out: by architecture",
    )


def build(section: IA3Config, setting: Setting) -> "Method":
    """The factors are averaged."""
    from fedtt.peft import ia3_config

    adapter = ia3_config(
        setting.task_type,
        target_modules=section.target_modules,
        feedforward_modules=section.feedforward_modules,
    )
    return averaged(adapter, setting)


IA3 = MethodEntry(
    section=IA3Config,
    adapter="PEFT's own",
    sends="all",
    aggregation="mean",
    reference="arXiv 2205.05638",
    build=build,
)
