"""Base models with their weights, for classification and for causal language modelling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from fedtt.errors import ModelError
from fedtt.models.attention import choose_attention
from fedtt.models.base_model_spec import BaseModelSpec
from fedtt.models.class_order import place_rows_by_name
from fedtt.models.configuration import (
    TASK_CLASSES,
    build_empty_model,
    load_model_config,
    set_dropout,
)
from fedtt.models.gguf_file import gguf_arguments, gguf_notes
from fedtt.models.model_files import explained, locate_model, quiet_transformers
from fedtt.models.option_checks import check_options
from fedtt.models.options import (
    check_placed,
    enable_checkpointing,
    keep_differentiable,
    loading_arguments,
    resolve_device,
)
from fedtt.seeds import random_stream
from fedtt.wide_products import multiplies_slowly, widen_products

# transformers loads an adapter that lies beside a model into it; none is found in this folder.
NO_ADAPTER = "fedtt-reads-no-adapter-beside-a-model"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A base model; ``drawn``: names of its parameters that are random, not from the checkpoint.

    ``notes`` are sentences that belong beside every number of the model.
    """

    model: PreTrainedModel
    drawn: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_classifier(
    base: BaseModelSpec, *, label_names: Sequence[str], pad_token_id: int, seed: int
) -> LoadedModel:
    """The pretrained model with a classification head of ``len(label_names)`` classes.

    Layers of the head that the checkpoint lacks are drawn at random from the stream ``seed``, as is
    a final projection of another number of classes. Only safetensors and GGUF weights are read
    (pickled ones can run code). Raises :class:`ModelError`, also for weights that are missing or of
    another shape anywhere else: transformers would draw those at random too.
    """
    config = _configured(base, num_labels=len(label_names))
    own = dict(config.id2label)
    config.id2label = dict(enumerate(label_names))
    config.label2id = {label: index for index, label in enumerate(label_names)}
    config.problem_type = "single_label_classification"
    check_options(base, config, task="classification")
    model, loading = _load_weights(base, config, task="classification", seed=seed)
    _check_loaded(model, loading, num_labels=len(label_names), name=base.name)
    drawn = tuple(sorted(loading["missing_keys"]))
    placed = (
        ()
        if _has_new_head(drawn, loading)
        else place_rows_by_name(model, own, label_names, name=base.name)
    )
    return LoadedModel(
        model=_finish(model, base, pad_token_id=pad_token_id),
        drawn=drawn,
        notes=(*placed, *_place_notes(base)),
    )


def load_causal_lm(base: BaseModelSpec, *, pad_token_id: int) -> LoadedModel:
    """The pretrained model as a causal language model, every weight of it from the checkpoint.

    As :func:`load_classifier`, but nothing is drawn: a checkpoint without a language model's head
    raises :class:`ModelError`, and so does an encoder, whose tokens see those after them.
    """
    config = _configured(base)
    _check_decoder(config, name=base.name)
    check_options(base, config, task="causal")
    # Whatever is drawn is refused next.
    model, loading = _load_weights(base, config, task="causal", seed=0)
    _check_loaded(model, loading, num_labels=None, name=base.name)
    return LoadedModel(
        model=_finish(model, base, pad_token_id=pad_token_id),
        drawn=(),
        notes=_place_notes(base),
    )


def _configured(base: BaseModelSpec, *, num_labels: int | None = None) -> PretrainedConfig:
    config = load_model_config(base.name, revision=base.revision, num_labels=num_labels)
    if base.dropout is not None:
        set_dropout(config, base.dropout)
    return config


def _load_weights(
    base: BaseModelSpec, config: PretrainedConfig, *, task: str, seed: int
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    """The model, and what transformers says of how its weights were found."""
    empty = build_empty_model(config, task=task)
    dtype = getattr(torch, base.dtype)
    arguments = loading_arguments(
        base.options, empty, dtype=dtype, target=resolve_device(base.device)
    )
    place, file = gguf_arguments(locate_model(base.name))
    with explained(base.name), quiet_transformers(), random_stream(seed):
        model, loading = TASK_CLASSES[task].from_pretrained(
            place,
            config=config,
            revision=base.revision or "main",
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            adapter_kwargs={"subfolder": NO_ADAPTER},
            **file,
            **arguments,
        )
    if base.options.quantization is None:
        _settle_dtype(model, dtype)
    else:
        keep_differentiable(model)
    return model, loading


def _has_new_head(drawn: Sequence[str], loading: Mapping[str, Any]) -> bool:
    """Whether the final projection is random: no rows of another order to speak of."""
    random = [*drawn, *(key for key, _, _ in loading["mismatched_keys"])]
    return any(".pooler." not in key for key in random)


def _place_notes(base: BaseModelSpec) -> tuple[str, ...]:
    place = locate_model(base.name)
    return (*gguf_notes(place), *_adapter_notes(place))


def _adapter_notes(place: str) -> tuple[str, ...]:
    """A line on an adapter that lies in the model's directory."""
    if not (Path(place) / "adapter_config.json").is_file():
        return ()
    return (
        f"An adapter lies beside the base model in {place}. It is not used: the base is the "
        "model's own weights alone (to start from both, merge them and save the result).",
    )


def _settle_dtype(model: PreTrainedModel, dtype: torch.dtype) -> None:
    # Parameters that an architecture makes with a type of its own, as DeBERTa does two biases, keep
    # it whatever from_pretrained is asked for; the first product with another type then fails.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def _finish(model: PreTrainedModel, base: BaseModelSpec, *, pad_token_id: int) -> PreTrainedModel:
    """``model``, which it changes, where it is to be and told what padding is."""
    # Not before the weights are there: RoBERTa and kin number their positions from the pad token
    # that they were trained with. A decoder that classifies looks for it in its text part.
    model.config.pad_token_id = pad_token_id
    model.config.get_text_config().pad_token_id = pad_token_id
    if model.can_generate():
        model.generation_config.pad_token_id = pad_token_id
    options = base.options
    if options.gradient_checkpointing:
        enable_checkpointing(model)
    if options.device_map is not None or options.quantization is not None:
        check_placed(model, device_map=options.device_map)
        return model
    model = model.to(resolve_device(base.device))
    if model.device.type == "cpu" and multiplies_slowly(model.dtype):
        widen_products(model)
    if options.attention is None:
        with quiet_transformers():
            choose_attention(model)
    return model


def _check_decoder(config: PretrainedConfig, *, name: str) -> None:
    is_decoder = getattr(config, "is_decoder", False)
    # transformers builds a causal LM of BERT and kin too, whose tokens see what comes after them.
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        raise ModelError(
            "an encoder is no causal language model",
            where=f"model.name = {name!r}",
            got=f"model_type {config.model_type}",
            expected="a decoder, such as llama, mistral, qwen2 or gpt2",
            fix="classify with it, or choose another model",
        )


def _check_loaded(
    model: PreTrainedModel, loading: Mapping[str, Any], *, num_labels: int | None, name: str
) -> None:
    """Raise :class:`ModelError` for random weights outside the head, or of another model.

    Without ``num_labels`` nothing may be random.
    """
    inside = f"{model.base_model_prefix}." if num_labels is not None else ""
    mismatched = {key: found for key, found, _ in loading["mismatched_keys"]}
    sizes = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    final = {key for key, size in sizes.items() if size[:1] == (num_labels,)}
    wrong = [key for key in sorted(mismatched) if key.startswith(inside) or key not in final]
    missing = sorted(key for key in loading["missing_keys"] if key.startswith(inside))
    if num_labels is not None:
        # A pooler belongs to the head, wherever an architecture keeps it.
        missing = [key for key in missing if ".pooler." not in key]
    if wrong or missing:
        first = f"{wrong[0]} {list(mismatched[wrong[0]])}" if wrong else missing[0]
        raise ModelError(
            "the weights are not those of the model that config.json describes",
            where=f"model.name = {name!r}",
            got=f"{len(wrong)} weights of another shape and {len(missing)} missing: {first}, ...",
            expected=f"{wrong[0]} {list(sizes.get(wrong[0], ()))}" if wrong else None,
            fix="download the model again, config.json and weights together",
        )
