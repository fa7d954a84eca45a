"""The ``[model]`` section of a configuration."""

from typing import Annotated, Literal

from pydantic import Field

from fedtt.section import Probability, Section, Tokens

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Device = Annotated[int, Field(ge=0, le=65_535)]
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, Device | str]


class ModelConfig(Section):
    """``[model]``: the base model."""

    name: str = Field(description="alias (minilm, smollm2), hub id, directory, or .gguf file")
    revision: str | None = Field(None, description="hub revision: branch, tag or commit")
    max_length: Tokens = Field(128, description="tokens; longer texts are cut, and counted")
    dropout: Probability | None = Field(None, description="of the base model; left out: its own")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the processor multiplies it faster, else float32"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps ...")
    device_map: DeviceMap | None = Field(
        None, description="spreads the layers over devices; or a table of module names"
    )
    attn_implementation: Attention | None = Field(
        None, description="left out: transformers' choice"
    )
    quantization: Literal["8bit", "4bit"] | None = Field(
        None, description="rounds the frozen base weights, with bitsandbytes"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute each block again going backward: less memory, more time"
    )
