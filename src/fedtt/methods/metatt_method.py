"""One tensor train over all layers (after MetaTT, arXiv 2506.09105), averaged as FedTT is."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.federated.schedules import SCHEDULES
from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Rank

if TYPE_CHECKING:
    from fedtt.federated.method import Method
    from fedtt.peft import MetaTTConfig as MetaTTAdapterConfig


class MetaTTConfig(MethodSection):
    """``[method]`` of the cross-layer train: metatt and metatt-round."""

    rank: Rank | tuple[Rank, Rank, Rank] = Field(
        8, description="one for all bonds, or three: input's, middle's and output's"
    )
    scaling: Positive = Field(4.0, description="factor of what the adapter adds")
    dropout: Probability = Field(0.0, description="of the adapter")
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )
    schedule: Annotated[str, AfterValidator(SCHEDULES.check)] = Field(
        "all", description="which cores train and travel in a round"
    )

    @model_validator(mode="after")
    def _rounding_has_whole_trains(self) -> Self:
        if self.name == "metatt-round" and self.schedule != "all":
            raise ValueError(f'schedule = "{self.schedule}" belongs to name = "metatt"')
        return self


def build(section: MetaTTConfig, setting: Setting) -> "Method":
    """The mean of the cores that the schedule trains: all of them, or some."""
    return replace(
        averaged(_adapter(section, setting, complete=False), setting),
        schedule=SCHEDULES[section.schedule],
    )


def build_rounding(section: MetaTTConfig, setting: Setting) -> "Method":
    """The mean of the train, by TT addition and rounding; of matrices that fill it."""
    from fedtt.federated.aggregate.tt_rounding import TTRounding

    return replace(
        averaged(_adapter(section, setting, complete=True), setting),
        aggregation=TTRounding(),
        server=setting.plain_server,
    )


def _adapter(section: MetaTTConfig, setting: Setting, *, complete: bool) -> "MetaTTAdapterConfig":
    from fedtt.peft import MetaTTConfig as MetaTTAdapterConfig

    return MetaTTAdapterConfig(
        task_type=setting.task_type,
        rank=section.rank if isinstance(section.rank, int) else list(section.rank),
        scaling=section.scaling,
        dropout=section.dropout,
        complete=complete,
        target_modules=list_or_none(section.target_modules),
    )


METATT = MethodEntry(
    section=MetaTTConfig,
    adapter="one TT over all layers",
    sends="all cores, or some a round (`schedule`)",
    aggregation="mean of cores",
    reference="arXiv 2506.09105",
    build=build,
)
METATT_ROUND = replace(
    METATT,
    sends="all cores",
    aggregation="mean of the matrices: TT sum, rounded",
    reference="arXiv 2506.09105; rounding: Oseledets 2011",
    build=build_rounding,
)
