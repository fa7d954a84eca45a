"""The ``[method]`` section: one class for each family of methods; docs/methods.md has them all."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from fedtt.section import Positive, Probability, Rank, Section, Width

ScheduleName = Literal["all", "cycle", "ends+cycle", "adaptive"]


class FedTTConfig(Section):
    """``[method]`` of the tensor-train family: fedtt, fedtt+ and fedtt-round."""

    name: Literal["fedtt", "fedtt+", "fedtt-round"]
    rank: Rank = 5
    bottleneck: Width = 64
    activation: str = "gelu"
    bias: bool = Field(
        default=False, description="dense biases: most of the message at LLaMA sizes"
    )
    dropout: Probability = 0.0
    scaling: Positive = 1.0
    in_modes: tuple[Width, ...] | None = None
    out_modes: tuple[Width, ...] | None = None
    tensorize_classifier: bool = False
    target_modules: tuple[str, ...] | None = None
    schedule: ScheduleName | None = Field(
        None, description="which cores train in a round; fedtt+ only (default: ends+cycle)"
    )

    @model_validator(mode="after")
    def _schedule_is_what_the_name_says(self) -> Self:
        if self.name != "fedtt+" and self.schedule not in {None, "all"}:
            raise ValueError(f'schedule = "{self.schedule}" belongs to name = "fedtt+"')
        return self


class LoRAConfig(Section):
    """``[method]`` of the LoRA family; LoRA itself is PEFT's."""

    name: Literal["lora", "ffa-lora", "rolora", "fedex-lora", "flexlora"]
    rank: Rank = 8
    alpha: Positive = 16.0
    dropout: Probability = 0.0
    target_modules: tuple[str, ...] | None = None
    ranks: tuple[Rank, ...] = Field(
        (), description="flexlora: ranks of the clients, in turn; none above rank"
    )

    @model_validator(mode="after")
    def _ranks_fit(self) -> Self:
        if self.ranks and self.name != "flexlora":
            raise ValueError('clients of different ranks need name = "flexlora"')
        if self.ranks and max(self.ranks) > self.rank:
            raise ValueError(f"ranks has a rank above rank = {self.rank}")
        return self


class LoRAXSConfig(Section):
    """``[method]`` with ``name = "lora-xs"``: r x r matrices between frozen singular factors."""

    name: Literal["lora-xs"]
    rank: Rank = 16
    alpha: Positive = 16.0
    dropout: Probability = 0.0
    target_modules: tuple[str, ...] | None = None


class AdapterConfig(Section):
    """``[method]`` with ``name = "adapter"``: Houlsby's dense bottleneck adapter."""

    name: Literal["adapter"]
    bottleneck: Width = 64
    activation: str = "gelu"
    bias: bool = True
    dropout: Probability = 0.0
    scaling: Positive = 1.0
    target_modules: tuple[str, ...] | None = None


class PromptConfig(Section):
    """``[method]`` of the methods that train virtual tokens."""

    name: Literal["prompt", "prefix", "p-tuning"]
    num_tokens: Width = 20


class VeRAConfig(Section):
    """``[method]`` with ``name = "vera"``: two vectors a layer around a shared random pair."""

    name: Literal["vera"]
    rank: Rank = 256
    target_modules: tuple[str, ...] | None = None


class IA3Config(Section):
    """``[method]`` with ``name = "ia3"``: one factor a feature."""

    name: Literal["ia3"]
    target_modules: tuple[str, ...] | None = None
    feedforward_modules: tuple[str, ...] | None = None


class PartOfModelConfig(Section):
    """``[method]`` of the methods that train a part of the base model itself."""

    name: Literal["bitfit", "head", "full"]


class PeftConfig(Section):
    """``[method]`` with ``name = "peft:TYPE"``: any of PEFT's methods, with its own options."""

    name: Annotated[str, Field(pattern=r"^peft:[A-Za-z0-9_-]+$")]
    options: dict[str, Any] = Field({}, description="of the method's PEFT config")

    @field_validator("options")
    @classmethod
    def _numbers_have_bounds(cls, options: dict[str, Any]) -> dict[str, Any]:
        for value in _leaves(options):
            if isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError(f"a number of {value.bit_length():,} bits is no option")
        return options


def _leaves(value: Any) -> Iterator[Any]:
    """The values inside tables and lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


METHOD_SECTIONS: tuple[type[Section], ...] = (
    FedTTConfig,
    LoRAConfig,
    LoRAXSConfig,
    AdapterConfig,
    PromptConfig,
    VeRAConfig,
    IA3Config,
    PartOfModelConfig,
)
SECTION_OF_METHOD: dict[str, type[Section]] = {
    name: section
    for section in METHOD_SECTIONS
    for name in get_args(section.model_fields["name"].annotation)
}
METHOD_NAMES = (*SECTION_OF_METHOD, "peft:TYPE")


def _section_name(value: Any) -> str | None:
    """Which section a ``[method]`` table is; None for a name that no section has."""
    name = value.get("name") if isinstance(value, Mapping) else getattr(value, "name", None)
    if isinstance(name, str) and name.startswith("peft:"):
        return "PeftConfig"
    return SECTION_OF_METHOD[name].__name__ if name in SECTION_OF_METHOD else None


MethodConfig = Annotated[
    Annotated[FedTTConfig, Tag("FedTTConfig")]
    | Annotated[LoRAConfig, Tag("LoRAConfig")]
    | Annotated[LoRAXSConfig, Tag("LoRAXSConfig")]
    | Annotated[AdapterConfig, Tag("AdapterConfig")]
    | Annotated[PromptConfig, Tag("PromptConfig")]
    | Annotated[VeRAConfig, Tag("VeRAConfig")]
    | Annotated[IA3Config, Tag("IA3Config")]
    | Annotated[PartOfModelConfig, Tag("PartOfModelConfig")]
    | Annotated[PeftConfig, Tag("PeftConfig")],
    Discriminator(_section_name),
]
