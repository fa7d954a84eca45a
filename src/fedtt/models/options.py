"""How a base model is held and computed with: checked before its weights are read."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate.utils import check_device_map
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel
from transformers.integrations.bitsandbytes import validate_bnb_backend_availability
from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION, is_bitsandbytes_available

from fedtt.errors import ConfigError, ModelError
from fedtt.models.configuration import TASK_CLASSES
from fedtt.models.gguf_file import is_gguf
from fedtt.models.places import UNUSABLE, explained, first_line, locate_model

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Quantization = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str]


FLASH = ("flash_attention_2", "flash_attention_3")


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


def check_options(
    name: str,
    config: PretrainedConfig,
    options: ModelOptions,
    *,
    task: str,
    dtype: str,
    device: str,
) -> None:
    """Raise what is wrong with the options for that model on this machine.

    Raises:
        ConfigError: options that exclude each other.
        ModelError: the architecture, or the machine, has no such thing.
    """
    target = resolve_device(device)
    if options.device_map is not None:
        _check_device_map(options.device_map, device=device)
    if options.attention in FLASH:
        _check_flash(options.attention, dtype=dtype, target=target)
    if options.quantization is not None:
        _check_quantization(name, config, options.quantization, target=target)
    if options != ModelOptions(quantization=options.quantization):
        _check_architecture(name, config, options, task=task, dtype=dtype)


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


def _check_device_map(device_map: DeviceMap, *, device: str) -> None:
    if device != "auto":
        raise ConfigError(
            "a device and a map of devices say two things",
            where="model.device_map",
            got=f"device_map = {device_map!r} and device = {device!r}",
            expected="one of the two",
            fix='leave device out (or "auto"), or leave device_map out',
        )
    if not isinstance(device_map, str) and "disk" in device_map.values():
        raise ConfigError(
            "weights on the disk cannot be trained with",
            where="model.device_map",
            got=repr(dict(device_map)),
            expected="devices: 0, 1, ... or cpu",
            fix='quantization = "4bit", or dtype = "bfloat16", to need less memory',
        )


def _check_flash(attention: str, *, dtype: str, target: torch.device) -> None:
    if dtype == "float32" or target.type == "cpu":
        raise ModelError(
            "flash attention computes in 16 bits, on an accelerator",
            where=f"model.attn_implementation = {attention!r}",
            got=f"dtype {dtype} on {target.type}",
            expected="dtype bfloat16 or float16 on a GPU",
            fix='dtype = "bfloat16" on a GPU; elsewhere attn_implementation = "sdpa"',
        )


def _check_quantization(
    name: str, config: PretrainedConfig, quantization: Quantization, *, target: torch.device
) -> None:
    where = f"model.quantization = {quantization!r}"
    if is_gguf(locate_model(name)) or getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            "the weights are quantized already",
            where=where,
            got=name,
            expected="a model whose weights are in floating point",
            fix="leave quantization out",
        )
    if not is_bitsandbytes_available():
        raise ModelError(
            "weights of 8 and 4 bits need a package that is not installed",
            where=where,
            expected=f"the package bitsandbytes, {BITSANDBYTES_MIN_VERSION} or later",
            fix='pip install "fedtt[quantization]", or leave quantization out',
        )
    try:
        validate_bnb_backend_availability(raise_exception=True)
        fits = target.type != "mps"
        problem = f"no kernels for {target.type}"
    except RuntimeError as error:
        fits, problem = False, first_line(error)
    if not fits:
        raise ModelError(
            "bitsandbytes has nothing for this device",
            where=where,
            got=problem,
            expected="cuda, xpu or cpu",
            fix='leave quantization out; dtype = "bfloat16" halves the memory too',
        )


def _check_architecture(
    name: str, config: PretrainedConfig, options: ModelOptions, *, task: str, dtype: str
) -> None:
    """Build the model empty, with the attention that is asked for, and look at its layers."""
    attention = options.attention
    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        with torch.device("meta"):
            model = TASK_CLASSES[task].from_config(  # which notes the attention in the config
                deepcopy(config), dtype=getattr(torch, dtype), trust_remote_code=False, **chosen
            )
    except (ImportError, *UNUSABLE) as error:
        with explained(name), torch.device("meta"):  # whatever is wrong without it, too
            TASK_CLASSES[task].from_config(config, trust_remote_code=False)
        raise ModelError(
            "the model cannot compute its attention that way",
            where=f"model.attn_implementation = {attention!r}",
            got=first_line(error),
            fix='attn_implementation = "eager", which every model has, or leave it out',
        ) from error
    if options.device_map is not None and not isinstance(options.device_map, str):
        _check_covered(model, options.device_map)
    if options.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(
            "the architecture has no gradient checkpointing in transformers",
            where="model.gradient_checkpointing",
            got=type(model).__name__,
            fix="leave it out; a smaller client.batch_size needs less memory as well",
        )


def _check_covered(model: PreTrainedModel, device_map: Mapping[str, int | str]) -> None:
    try:
        check_device_map(model, dict(device_map))
    except ValueError as error:
        raise ConfigError(
            "the map of devices has no place for a part of the model",
            where="model.device_map",
            got=first_line(error),
            expected=", ".join(name for name, _ in model.named_children()) + " and what is in them",
            fix='add "" = "cpu" for all that is not named',
        ) from error
