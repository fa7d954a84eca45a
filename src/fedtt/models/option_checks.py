"""What is wrong with the options of a base model: said before its weights are read."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from accelerate.utils import check_device_map
from transformers import PretrainedConfig, PreTrainedModel
from transformers.integrations.bitsandbytes import validate_bnb_backend_availability
from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION, is_bitsandbytes_available

from fedtt.errors import ConfigError, ModelError
from fedtt.models.base_model_spec import BaseModelSpec
from fedtt.models.configuration import TASK_CLASSES
from fedtt.models.gguf_file import is_gguf
from fedtt.models.model_files import UNUSABLE, explained, first_line, locate_model
from fedtt.models.options import DeviceMap, ModelOptions, Quantization, resolve_device

FLASH = ("flash_attention_2", "flash_attention_3")


def check_options(base: BaseModelSpec, config: PretrainedConfig, *, task: str) -> None:
    """Raise what is wrong with the options for the model of ``config`` on this machine.

    Raises:
        ConfigError: options that exclude each other.
        ModelError: the architecture, or the machine, has no such thing.
    """
    options, target = base.options, resolve_device(base.device)
    if options.device_map is not None:
        _check_device_map(options.device_map, device=base.device)
    if options.attention in FLASH:
        _check_flash(options.attention, dtype=base.dtype, target=target)
    if options.quantization is not None:
        _check_quantization(base.name, config, options.quantization, target=target)
    if options != ModelOptions(quantization=options.quantization):
        _check_architecture(base, config, task=task)


def _check_device_map(device_map: DeviceMap, *, device: str) -> None:
    if device != "auto":
        raise ConfigError(
            "a device and a map of devices say two things",
            where="model.device_map",
            got=f"device_map = {device_map!r} and device = {device!r}",
            expected="one of the two",
            fix='leave device out (or "auto"), or leave device_map out',
        )
    places = set() if isinstance(device_map, str) else {str(at) for at in device_map.values()}
    if "disk" in places or ("cpu" in places and len(places) > 1):
        # accelerate brings them to the other device for a moment: they hold nothing to be read.
        raise ConfigError(
            "layers left on the disk, or on the CPU beside other devices, cannot be trained with",
            where="model.device_map",
            got=f"{device_map}",
            expected="accelerators, as 0 and 1, or the CPU for all of the model",
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


def _check_architecture(base: BaseModelSpec, config: PretrainedConfig, *, task: str) -> None:
    """Build the model empty, with the attention that is asked for, and look at its layers."""
    options = base.options
    attention = options.attention
    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        with torch.device("meta"):
            model = TASK_CLASSES[task].from_config(  # which notes the attention in the config
                deepcopy(config),
                dtype=getattr(torch, base.dtype),
                trust_remote_code=False,
                **chosen,
            )
    except (ImportError, *UNUSABLE) as error:
        with explained(base.name), torch.device("meta"):  # whatever is wrong without it, too
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
