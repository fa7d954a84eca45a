"""The ``[model]`` section of a configuration."""

from typing import Annotated, Literal

from pydantic import Field

from fedtt.section import Probability, Section, Tokens

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Device = Annotated[int, Field(ge=0, le=65_535)]
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, Device | str]


class ModelConfig(Section):
    """``[model]``: the base model."""

    name: str = Field(
        description="`minilm`, `smollm2`, a hub id, a directory with safetensors weights and a "
        "tokenizer, or a `.gguf` file; code of its own is never run"
    )
    revision: str | None = Field(None, description="hub branch, tag or commit; left out: `main`")
    max_length: Tokens = Field(
        128, description="tokens; longer texts are cut, and how many is printed"
    )
    dropout: Probability | None = Field(
        None, description="dropout probability of the base model; left out: the model's own"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of the base model; `auto` is `bfloat16` where it is the faster one (a GPU "
        "since Ampere, AMX, and AVX512-BF16 where a product is seen to take 0.4 of its time in "
        "float32 or less) and the method does not compute from the base weights, else "
        "`float32`; the run saves which it was. What is trained and sent, head and all, is "
        "float32",
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`")
    device_map: DeviceMap | None = Field(
        None,
        description="spreads the layers over several devices, by one of these or by a table such "
        'as `{ "model.layers.0" = 0, "" = 1 }`; goes without `device`; no layer is '
        "left on the disk, or on the CPU beside a GPU",
    )
    attn_implementation: Attention | None = Field(
        None,
        description="the flash attentions go with a GPU and 16 bits; left out: transformers' "
        "choice; on a CPU in 16 bits a faster one for short texts",
    )
    quantization: Literal["8bit", "4bit"] | None = Field(
        None,
        description="frozen base weights rounded as they are loaded (extra `quantization`); left "
        "out: none",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="every block keeps its input alone and is computed again going backward: the "
        "same gradients in less memory and more time",
    )
