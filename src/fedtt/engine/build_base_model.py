"""From a config to the base model with the method's adapter in it."""

from collections.abc import Sequence

from peft import PeftModel
from transformers import PretrainedConfig

from fedtt.config import ModelConfig, RunConfig
from fedtt.engine.build_task import model_class_of, output_names
from fedtt.engine.cost import put_into
from fedtt.engine.method_and_dtype import check_goes_with_options, choose_dtype
from fedtt.federated.method import Method
from fedtt.models import (
    BaseModelSpec,
    LoadedModel,
    ModelOptions,
    check_options,
    load_causal_lm,
    load_classifier,
)
from fedtt.seeds import derive_seed, random_stream


def build_model(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> PeftModel:
    """As :func:`build_model_and_notes`, without the notes."""
    return build_model_and_notes(
        config, method, label_names=label_names, pad_token_id=pad_token_id
    )[0]


def build_model_and_notes(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> tuple[PeftModel, list[str]]:
    """The model as it starts, the same bits for the same config; what is to be said of it."""
    base = load_base(config, method, label_names=label_names, pad_token_id=pad_token_id)
    with random_stream(derive_seed(config.seed, "adapter")):
        model = put_into(base.model, method)
    return model, [*base.notes, *_random_layer_notes(model, base.drawn)]


def load_base(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> LoadedModel:
    """The base model alone, in which the same layers are drawn for the same config."""
    base = base_model_spec(config.model, method)
    if model_class_of(config.task) == "causal":
        return load_causal_lm(base, pad_token_id=pad_token_id)
    return load_classifier(
        base,
        label_names=output_names(config.task, label_names=label_names),
        pad_token_id=pad_token_id,
        seed=derive_seed(config.seed, "head"),
    )


def _random_layer_notes(model: PeftModel, drawn: Sequence[str]) -> list[str]:
    """A line for every layer without pretrained weights that nothing trains or takes the place of.

    A layer that is trained whole, or inside a tuner's layer, has another name by now.
    """
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    untrained = [name for name in drawn if f"base_model.model.{name}" in frozen]
    layers = {name.rpartition(".")[0] for name in untrained}
    return [
        f"{layer} is not in the base model's weights: it is drawn at random and stays so "
        "(fedtt with tensorize_classifier = true trains a TT layer in its place)."
        for layer in sorted(layers)
    ]


def base_model_spec(config: ModelConfig, method: Method) -> BaseModelSpec:
    """Which base model ``[model]`` asks for, its type chosen."""
    options = _model_options(config)
    return BaseModelSpec(
        name=config.name,
        revision=config.revision,
        dropout=config.dropout,
        dtype=choose_dtype(method, options, dtype=config.dtype, device=config.device),
        device=config.device,
        options=options,
    )


def _model_options(config: ModelConfig) -> ModelOptions:
    """What of the ``[model]`` section goes through to transformers."""
    return ModelOptions(
        attention=config.attn_implementation,
        device_map=config.device_map,
        quantization=config.quantization,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def check_model_options(
    config: ModelConfig, model_config: PretrainedConfig, method: Method, *, model_class: str
) -> None:
    """Raise what is wrong with ``[model]`` for the method, the architecture or this machine."""
    base = base_model_spec(config, method)
    check_goes_with_options(method, base.options, dtype=base.dtype)
    check_options(base, model_config, task=model_class)
