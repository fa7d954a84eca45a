"""``get_peft_model`` and ``PeftModel.from_pretrained`` with the checks that PEFT lacks."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils.error import NoMatchingPeftModuleError
from torch import nn
from transformers.pytorch_utils import Conv1D

from fedtt.checksums import check_checksums
from fedtt.errors import FedttError, ModelError
from fedtt.peft.anatomy import LORA_TARGETS, model_type_of
from fedtt.peft.exchanged import exchanged_parameters
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.layer_widths import describe_candidates
from fedtt.peft.modules_of_type import modules_of_type
from fedtt.peft.offload import check_trains_in_place
from fedtt.peft.patterns import check_patterns
from fedtt.peft.prompt_methods import check_takes_prefix, fill_sizes, read_at_last_token
from fedtt.peft.sizes import check_sizes, want_of_memory_explained
from fedtt.peft.traits import traits_of

_NO_DEFAULT_TARGETS = "Please specify `target_modules`"
# PEFT has no exception of its own.
_OF_A_REFUSAL = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def adapt(base: nn.Module, config: PeftConfig) -> PeftModel:
    """``base`` with the adapter of ``config`` in it, which changes ``base`` but not ``config``.

    What PEFT gets wrong for some architectures is put right, or is an error:

    - a prompt as wide as the input embeddings, where these are narrower than the model;
    - decoders that classify read the last real token behind a prompt, not the padding;
    - LoRA and VeRA go to queries and values, where PEFT has no default for an architecture that
      the TT adapter knows;
    - sizes beyond all use, or beyond memory, and patterns that never come to an end, raise;
    - BitFit on a model without biases, and prefixes on one that takes none, raise, and so does
      what would train weights that accelerate keeps elsewhere.

    Raises:
        ConfigError: a number, or a pattern, that no model could be given.
        ModelError: the method does not fit the architecture, or memory.
    """
    config = deepcopy(config)
    check_sizes(config)
    check_patterns(config, base)
    _prepare(base, config)
    with _refusals_explained(base, config), want_of_memory_explained(), wrapped_quietly():
        model: PeftModel = get_peft_model(base, config)
    _check_trains_what_was_asked(model, config)
    check_trains_in_place(model)
    return model


@contextmanager
def wrapped_quietly() -> Iterator[None]:
    """While PEFT wraps a model, without the warning that it reads a name which transformers 5
    deprecates: nobody who calls can do anything about it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
        yield


@contextmanager
def _refusals_explained(base: nn.Module, config: PeftConfig) -> Iterator[None]:
    """What PEFT says inside of methods of its own, with where it was said and the way out."""
    where = f"{type(config).__name__} in {type(base).__name__}, model_type {model_type_of(base)}"
    try:
        yield
    except (FedttError, NoMatchingPeftModuleError):
        raise
    except _OF_A_REFUSAL as error:
        if str(error).startswith(_NO_DEFAULT_TARGETS):
            raise ModelError(
                "PEFT has no default target modules for this architecture",
                where=where,
                got=f"linear layers as wide as the model: {describe_candidates(base)}",
                fix=f'name the layers: {type(config).__name__}(target_modules=["...", "..."])',
            ) from error
        if not type(config).__module__.startswith("peft."):
            raise  # whose own it is wants to see where
        raise ModelError(
            "PEFT refuses this method for this model",
            where=where,
            got=f"{type(error).__name__}: {error}",
            expected="options that fit the widths and the layers of the model",
            fix="change the options (method.options of peft:TYPE), or take another method",
        ) from error


def load_adapted(base: nn.Module, directory: str | os.PathLike[str]) -> PeftModel:
    """``base`` with the adapter saved in ``directory``, for inference; changes ``base``.

    For every method but the prompt ones on decoders that classify (see :func:`adapt`) the same as
    ``PeftModel.from_pretrained``. Where the directory lists its checksums, as that of a run does,
    they are checked first. Raises :class:`RunError` for a file that is not what was written.
    """
    check_checksums(Path(directory))
    config = PeftConfig.from_pretrained(directory)
    check_sizes(config)
    check_patterns(config, base)
    _prepare(base, config)
    with _without_device_map(base), want_of_memory_explained(), wrapped_quietly():
        model: PeftModel = PeftModel.from_pretrained(base, directory)
    return model


@contextmanager
def _without_device_map(base: nn.Module) -> Iterator[None]:
    """Inside, PEFT does not see that layers are offloaded: it would place them all anew.

    That fails where there is nothing but the CPU, and our layers are where they belong already.
    """
    device_map = vars(base).pop("hf_device_map", None)
    try:
        yield
    finally:
        if device_map is not None:
            base.hf_device_map = device_map


def _prepare(base: nn.Module, config: PeftConfig) -> None:
    """See to what the method of ``config`` needs of ``base``; changes both."""
    if traits_of(config).on_queries_and_values and config.target_modules is None:
        config.target_modules = LORA_TARGETS.get(model_type_of(base) or "")
    if getattr(config, "fan_in_fan_out", None) is False:
        # PEFT sets it too, with a warning for every layer.
        config.fan_in_fan_out = any(modules_of_type(base, Conv1D))
    if not config.is_prompt_learning:
        return
    fill_sizes(config, base)
    if traits_of(config).needs_cache:
        check_takes_prefix(base)
    elif config.task_type == "SEQ_CLS" and hasattr(base, "score"):
        # What transformers calls the head of a decoder that classifies; an encoder's: classifier.
        read_at_last_token(base)


def _check_trains_what_was_asked(model: PeftModel, config: PeftConfig) -> None:
    if config.task_type == "SEQ_CLS" and not hasattr(config, "modules_to_save"):
        raise ModelError(
            "PEFT trains no head beside this method",
            where=f"{type(config).__name__} for a task with classes",
            expected="a method whose config has modules_to_save",
            fix='another method, or a causal model with task = { kind = "label-words" }',
        )
    wants_biases = getattr(config, "bias", None) == "all"
    if wants_biases and ParameterKind.BIASES not in exchanged_parameters(model).values():
        raise ModelError(
            "the model has no biases to train",
            where=f"{type(model.get_base_model()).__name__}",
            expected="an architecture with biases, such as BERT or GPT-2",
            fix="another method; of this one only the head would be trained",
        )
