"""Which methods go with which ways of holding the base model."""

from fedtt.errors import ConfigError
from fedtt.federated.method import Method
from fedtt.models import ModelOptions, fast_dtype, resolve_device
from fedtt.peft import BIASES, traits_of


def check_goes_with_options(method: Method, options: ModelOptions, *, dtype: str) -> None:
    """Raise :class:`ConfigError` where the method cannot work with a model held that way."""
    traits, quantized = traits_of(method.adapter), options.quantization is not None
    if quantized and _needs_weights(method):
        raise ConfigError(
            f"{method.name} computes with the base weights, and quantized ones are codes",
            where="model.quantization",
            got=options.quantization,
            expected="a method that leaves the base weights alone, such as fedtt or lora",
            fix="leave quantization out, or choose another method",
        )
    if quantized and dtype != "float32" and _inside_layers(method):
        raise ConfigError(
            f"{method.name} trains float32 inside the quantized layers, which compute in {dtype}",
            where="model.dtype",
            got=f"{dtype} with quantization {options.quantization}",
            expected="float32",
            fix='dtype = "float32": the quantized weights are no larger for it',
        )
    if options.gradient_checkpointing and traits.needs_cache:
        raise ConfigError(
            "a prefix lies in the cache of keys and values, which gradient checkpointing has not",
            where="model.gradient_checkpointing",
            got=f"method {method.name}",
            expected="a method without a prefix",
            fix="leave gradient_checkpointing out, or use prompt or p-tuning",
        )


def choose_dtype(method: Method, options: ModelOptions, *, dtype: str, device: str) -> str:
    """The type of the base weights; ``auto`` is the faster one that the method can work with."""
    if dtype != "auto":
        return dtype
    inside = options.quantization is not None and _inside_layers(method)
    exact = _needs_weights(method) or inside
    return "float32" if exact else fast_dtype(resolve_device(device))


def _inside_layers(method: Method) -> bool:
    return traits_of(method.adapter).inside_layers or BIASES in method.also_train


def _needs_weights(method: Method) -> bool:
    return method.shifts_base or traits_of(method.adapter).needs_base_weights
