"""Any other of PEFT's methods, with PEFT's own options, averaged."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged
from fedtt.methods.unfit_peft_types import check_peft_type
from fedtt.nested_values import leaves

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class PeftConfig(MethodSection):
    """``[method]`` with ``name = "peft:TYPE"``: most of PEFT's methods, with their own options."""

    name: Annotated[str, Field(pattern=r"^peft:[A-Za-z0-9_-]+$")]
    options: dict[str, Any] = Field(
        {}, description="a table of options of PEFT's own config; left out: none"
    )

    @field_validator("options")
    @classmethod
    def _numbers_have_bounds(cls, options: dict[str, Any]) -> dict[str, Any]:
        for value in leaves(options):
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError(f"a number of {value.bit_length():,} bits is no option")
        return options


def build(section: PeftConfig, setting: Setting) -> "Method":
    """All that the adapter trains is averaged."""
    from fedtt.peft import peft_config_from_table

    check_peft_type(section.name, section.options)
    kind = section.name.removeprefix("peft:")
    adapter = peft_config_from_table(kind, section.options, task_type=setting.task_type)
    return averaged(adapter, setting)


ANY_OF_PEFT = MethodEntry(
    section=PeftConfig,
    adapter="most of PEFT's, `options` as its config has them",
    sends="all",
    aggregation="mean",
    reference="",
    build=build,
)
