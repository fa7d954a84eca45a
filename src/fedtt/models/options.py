"""How a base model is held and computed with."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from fedtt.errors import ModelError

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Quantization = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What goes through to transformers; None, or False, is its own default.

    ``attention`` is its ``attn_implementation``. ``device_map`` spreads the layers over devices:
    ``auto`` and kin, or a table of module names. ``quantization`` rounds the frozen base weights
    to 8 bits (LLM.int8) or 4 (NF4) with bitsandbytes. With ``gradient_checkpointing`` every block
    keeps its input alone and is computed again in the backward pass.
    """

    attention: Attention | None = None
    device_map: DeviceMap | None = None
    quantization: Quantization | None = None
    gradient_checkpointing: bool = False


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first accelerator there is, else the CPU. Raises :class:`ModelError`."""
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved).cpu()  # the meta device has nothing to copy
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            "the device cannot be used",
            where="model.device",
            got=device,
            fix='use "auto" or "cpu"',
        ) from error
    return resolved


def loading_arguments(
    options: ModelOptions, empty: PreTrainedModel, *, dtype: torch.dtype, target: torch.device
) -> dict[str, Any]:
    """What ``from_pretrained`` is told of the options. ``empty`` is the model without weights."""
    arguments: dict[str, Any] = {}
    if options.attention is not None:
        arguments["attn_implementation"] = options.attention
    if options.device_map is not None:
        arguments["device_map"] = options.device_map
    if options.quantization is not None:
        # A quantized model is made on its device and cannot be moved.
        arguments.setdefault("device_map", {"": str(target)})
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=options.quantization == "8bit",
            load_in_4bit=options.quantization == "4bit",
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            # The head is trained whole, so it stays as it is.
            llm_int8_skip_modules=[
                name for name, _ in empty.named_children() if name != empty.base_model_prefix
            ],
        )
        # At every call of every layer it says that it computes with float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return arguments


def keep_differentiable(model: PreTrainedModel) -> None:
    """Let 4-bit layers keep the layout that gradients can pass through. Changes ``model``.

    On processors with bfloat16 instructions bitsandbytes repacks a layer's weights the first time
    it measures, for a kernel that has no gradient: training after that fails, or learns nothing.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_placed(model: PreTrainedModel, *, device_map: DeviceMap | None) -> None:
    """Raise :class:`ModelError` for layers that found no room on the devices."""
    placed = getattr(model, "hf_device_map", {})
    elsewhere = sorted(name for name, parameter in model.named_parameters() if parameter.is_meta)
    if elsewhere or "disk" in placed.values():
        raise ModelError(
            "the base model does not fit into the memory of the devices",
            where=f"model.device_map = {device_map!r}",
            got=f"no place for {len(elsewhere)} weights: {elsewhere[0]}, ..."
            if elsewhere
            else "layers on the disk",
            fix='a smaller model, quantization = "4bit", or dtype = "bfloat16"',
        )


def enable_checkpointing(model: PreTrainedModel) -> None:
    """Keep of every block only its input, and compute it again in the backward pass.

    Changes ``model``. The variant that is not reentrant: the other one gives no gradients to what
    is trained inside a block whose input needs none, as behind frozen embeddings.
    """
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.config.get_text_config().use_cache = False  # nothing is to be kept
