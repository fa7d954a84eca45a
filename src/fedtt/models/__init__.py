"""Base models and tokenizers: found, checked and loaded; no weights from pickles.

Nothing of a model's repository is run: only architectures that transformers itself has.
"""

from fedtt.models.base_model import LoadedModel, load_causal_lm, load_classifier
from fedtt.models.base_model_spec import BaseModelSpec
from fedtt.models.configuration import (
    PEFT_TASK_TYPES,
    TASK_CLASSES,
    build_empty_model,
    guess_task,
    load_model_config,
)
from fedtt.models.model_files import (
    ALIASES,
    PackagedModel,
    is_on_this_machine,
    locate_model,
    public_name,
    revision_notes,
)
from fedtt.models.number_type import fast_dtype
from fedtt.models.option_checks import check_options
from fedtt.models.options import ModelOptions, resolve_device
from fedtt.models.tokenizer import load_tokenizer

__all__ = [
    "ALIASES",
    "PEFT_TASK_TYPES",
    "TASK_CLASSES",
    "BaseModelSpec",
    "LoadedModel",
    "ModelOptions",
    "PackagedModel",
    "build_empty_model",
    "check_options",
    "fast_dtype",
    "guess_task",
    "is_on_this_machine",
    "load_causal_lm",
    "load_classifier",
    "load_model_config",
    "load_tokenizer",
    "locate_model",
    "public_name",
    "resolve_device",
    "revision_notes",
]
