"""LoRA from PEFT, federated in five ways."""

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Rank

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class LoRAConfig(MethodSection):
    """``[method]`` of the LoRA family; LoRA itself is PEFT's."""

    rank: Rank = Field(8, description="of B A")
    alpha: Positive = Field(16.0, description="B A is multiplied by alpha / rank")
    scaling: Positive | None = Field(
        None,
        description="factor of B A, in place of `alpha`: one number to search for all ranks; left "
        "out: alpha / rank",
    )
    dropout: Probability = Field(0.0, description="of the adapter")
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )
    ranks: tuple[Rank, ...] = Field(
        (),
        description="flexlora: ranks of the clients, in turn; none above `rank`; left out: "
        "everyone `rank`",
    )

    @property
    def factor(self) -> float:
        """What ``B A`` is multiplied by."""
        return self.alpha / self.rank if self.scaling is None else self.scaling

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        if self.ranks and self.name != "flexlora":
            raise ValueError('clients of different ranks need name = "flexlora"')
        if self.ranks and max(self.ranks) > self.rank:
            raise ValueError(f"ranks has a rank above rank = {self.rank}")
        return self


def build_lora(section: LoRAConfig, setting: Setting) -> "Method":
    """FedAvg of A and B one by one (FedIT)."""
    from peft import LoraConfig

    adapter = LoraConfig(
        task_type=setting.task_type,
        r=section.rank,
        lora_alpha=section.alpha if section.scaling is None else section.scaling * section.rank,
        lora_dropout=section.dropout,
        target_modules=list_or_none(section.target_modules),
    )
    return averaged(adapter, setting)


def build_ffa_lora(section: LoRAConfig, setting: Setting) -> "Method":
    """A stays as it was drawn; B is averaged, exactly."""
    from fedtt.federated.parameter_names import is_lora_a

    return replace(build_lora(section, setting), stays_home=is_lora_a)


def build_rolora(section: LoRAConfig, setting: Setting) -> "Method":
    """B and A in turn, each averaged exactly."""
    from fedtt.federated.schedules.lora_in_turn import alternate_lora

    return replace(build_lora(section, setting), schedule=alternate_lora)


def build_fedex_lora(section: LoRAConfig, setting: Setting) -> "Method":
    """The base weight takes what the mean factors miss of the mean product."""
    from fedtt.federated.aggregate.lora_products import ResidualIntoBase

    return replace(
        build_lora(section, setting),
        aggregation=ResidualIntoBase(scale=section.factor),
        server=setting.plain_server,
        shifts_base=True,
    )


def build_flexlora(section: LoRAConfig, setting: Setting) -> "Method":
    """SVD of the mean product, clients of different ranks."""
    from fedtt.federated.aggregate.lora_products import ProductSVD

    return replace(
        build_lora(section, setting),
        aggregation=ProductSVD(),
        server=setting.plain_server,
        client_ranks=section.ranks,
    )


LORA = MethodEntry(
    section=LoRAConfig,
    adapter="LoRA",
    sends="A and B",
    aggregation="mean of A, mean of B (FedIT)",
    reference="arXiv 2305.05644",
    build=build_lora,
)
FFA_LORA = replace(
    LORA,
    sends="B; A stays as it was drawn",
    aggregation="mean, exact",
    reference="arXiv 2403.12313",
    build=build_ffa_lora,
)
ROLORA = replace(
    LORA,
    sends="B and A in turn",
    aggregation="mean, exact",
    reference="arXiv 2502.01755",
    build=build_rolora,
)
FEDEX_LORA = replace(
    LORA,
    aggregation="mean, and the base weight takes the rest: exact",
    reference="arXiv 2410.09432",
    build=build_fedex_lora,
)
FLEXLORA = replace(
    LORA,
    sends="A and B, clients of different `ranks`",
    aggregation="SVD of the mean product",
    reference="arXiv 2402.11505",
    build=build_flexlora,
)
# What every other method is compared with in `fedtt train`'s last lines.
REFERENCE = LoRAConfig(name="lora", rank=8)
