"""What a model is, from its configuration alone: no weights are read."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from fedtt.model_place import check_model_place
from fedtt.models.gguf_file import is_gguf, read_gguf_config
from fedtt.models.model_files import explained, locate_model

# What configurations of the known architectures call their dropout probabilities.
DROPOUT_KEYS = (
    "activation_dropout",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "classifier_dropout",
    "classifier_dropout_prob",
    "dropout",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "mlp_dropout",
    "pooler_dropout",
    "resid_pdrop",
    "seq_classif_dropout",
)

TASK_CLASSES: Mapping[str, Any] = {
    "classification": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
}
PEFT_TASK_TYPES: Mapping[str, str] = {"classification": "SEQ_CLS", "causal": "CAUSAL_LM"}


def load_model_config(
    name: str, *, revision: str | None = None, num_labels: int | None = None
) -> PretrainedConfig:
    """The model's configuration, without weights. ``name`` may also be a ``config.json``."""
    check_model_place(name)
    place = locate_model(name)
    with explained(name):
        if is_gguf(place):
            config = read_gguf_config(place)
        else:
            config = AutoConfig.from_pretrained(
                place, revision=revision or "main", trust_remote_code=False
            )
        if num_labels is not None:
            config.num_labels = num_labels
    return config


def guess_task(config: PretrainedConfig) -> str:
    """``causal`` where the configuration names a causal LM as its architecture."""
    architectures = config.architectures or []
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    return "causal" if causal else "classification"


def build_empty_model(config: PretrainedConfig, *, task: str) -> PreTrainedModel:
    """The model on the meta device: every name and shape, no memory. Raises :class:`ModelError`."""
    name = config.name_or_path or type(config).__name__
    with explained(name), torch.device("meta"):
        model: PreTrainedModel = TASK_CLASSES[task].from_config(config, trust_remote_code=False)
    return model


def set_dropout(config: PretrainedConfig, rate: float) -> None:
    """Replace every dropout probability of ``config``, which it changes."""
    text = config.get_text_config()
    for key in DROPOUT_KEYS:
        if isinstance(getattr(text, key, None), int | float):
            setattr(text, key, rate)
