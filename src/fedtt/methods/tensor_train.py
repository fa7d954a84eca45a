"""FedTT and FedTT+ (arXiv 2410.13097), and FedTT with the mean of matrices (ours)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.federated.schedules import SCHEDULES
from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged, list_or_none
from fedtt.section import Positive, Probability, Rank, Width

if TYPE_CHECKING:
    from fedtt.federated.method import Method

DEFAULT_SCHEDULE = {"fedtt+": "ends+cycle"}


class FedTTConfig(MethodSection):
    """``[method]`` of the tensor-train family: fedtt, fedtt+ and fedtt-round."""

    rank: Rank = Field(5, description="TT rank")
    bottleneck: Width = Field(64, description="width between Down and Up")
    activation: str = Field("gelu", description="between Down and Up")
    bias: bool = Field(
        default=False,
        description="dense biases, trained and sent: most of the message at LLaMA sizes",
    )
    dropout: Probability = Field(0.0, description="of the adapter")
    scaling: Positive = Field(1.0, description="factor of what the adapter adds")
    in_modes: tuple[Width, ...] | None = Field(
        None, description="mode sizes of Down's input; Up mirrors them; left out: automatic"
    )
    out_modes: tuple[Width, ...] | None = Field(
        None, description="mode sizes of Down's output; Up mirrors them; left out: automatic"
    )
    tensorize_classifier: bool = Field(
        default=False, description="the head's dense layer becomes a TT layer"
    )
    target_modules: tuple[str, ...] | None = Field(
        None, description="module names to adapt; left out: by architecture"
    )
    schedule: Annotated[str, AfterValidator(SCHEDULES.check)] | None = Field(
        None,
        description="fedtt+: which cores train and travel in a round; left out: `ends+cycle`; "
        "fedtt: `all`",
    )

    @model_validator(mode="after")
    def _schedule_is_what_the_name_says(self) -> Self:
        if self.name != "fedtt+" and self.schedule not in {None, "all"}:
            raise ValueError(f'schedule = "{self.schedule}" belongs to name = "fedtt+"')
        return self


def build(section: FedTTConfig, setting: Setting) -> "Method":
    """TT adapters, and the mean of the cores that the schedule trains: all of them, or some."""
    from fedtt.peft import TTAdapterConfig

    adapter = TTAdapterConfig(
        task_type=setting.task_type,
        rank=section.rank,
        bottleneck=section.bottleneck,
        activation=section.activation,
        bias=section.bias,
        dropout=section.dropout,
        scaling=section.scaling,
        in_modes=list_or_none(section.in_modes),
        out_modes=list_or_none(section.out_modes),
        tensorize_classifier=section.tensorize_classifier,
        target_modules=list_or_none(section.target_modules),
    )
    schedule = section.schedule or DEFAULT_SCHEDULE.get(section.name, "all")
    return replace(averaged(adapter, setting), schedule=SCHEDULES[schedule])


def build_rounding(section: FedTTConfig, setting: Setting) -> "Method":
    """TT adapters whose matrices are averaged, by TT addition and rounding, not their cores."""
    from fedtt.federated.aggregate.tt_rounding import TTRounding

    return replace(build(section, setting), aggregation=TTRounding(), server=setting.plain_server)


FEDTT = MethodEntry(
    section=FedTTConfig,
    adapter="TT adapter",
    sends="all cores",
    aggregation="mean of cores",
    reference="arXiv 2410.13097",
    build=build,
)
FEDTT_PLUS = replace(FEDTT, sends="some cores a round (`schedule`)")
FEDTT_ROUND = replace(
    FEDTT,
    aggregation="mean of the matrices: TT sum, rounded",
    reference="ours; rounding: Oseledets 2011",
    build=build_rounding,
)
