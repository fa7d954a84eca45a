"""GGUF files: weights, tokenizer and configuration of a model in one, as llama.cpp has them."""

import re
from collections import Counter
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.import_utils import is_gguf_available

from fedtt.errors import ModelError


def is_gguf(place: str) -> bool:
    """Whether the place of a model is a GGUF file."""
    return place.lower().endswith(".gguf")


def gguf_arguments(place: str) -> tuple[str, dict[str, str]]:
    """What ``from_pretrained`` takes for that place: a directory or hub id, and a file's name."""
    if not is_gguf(place):
        return place, {}
    if not is_gguf_available():
        raise ModelError(
            "reading a GGUF file needs a package that is not installed",
            where=place,
            expected="the package gguf",
            fix='pip install "fedtt[gguf]"',
        )
    path = Path(place)
    return str(path.parent), {"gguf_file": path.name}


def read_gguf_config(place: str) -> PretrainedConfig:
    """Configuration in a GGUF file. It takes seconds, so a file is read once in a process."""
    gguf_arguments(place)
    return deepcopy(_read_config(place, *_stamp(place)))


def gguf_notes(place: str) -> tuple[str, ...]:
    """That the weights were rounded, where most of them were: all numbers of a run rest on it."""
    if not is_gguf(place):
        return ()
    kind = _commonest_type(place, *_stamp(place))
    bits = re.search(r"Q(\d)", kind)  # Q4_1, IQ3_S, TQ1_0; not F32, F16, BF16
    text = f"the base model's weights are dequantized from {bits[1]} bits" if bits else ""
    return (f"{Path(place).name}: {text} ({kind}).",) if text else ()


def _stamp(place: str) -> tuple[int, int]:
    status = Path(place).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _read_config(place: str, size: int, changed: int) -> PretrainedConfig:  # noqa: ARG001 (key)
    directory, file = gguf_arguments(place)
    config: PretrainedConfig = AutoConfig.from_pretrained(directory, **file)
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if config.architectures is None and isinstance(causal, str):
        config.architectures = [causal]  # the file does not say, and llama.cpp runs no other
    return config


@lru_cache(maxsize=4)
def _commonest_type(place: str, size: int, changed: int) -> str:  # noqa: ARG001 (key)
    """Name of the type that most of the weights have."""
    from gguf import GGUFReader

    counts: Counter[str] = Counter()
    for tensor in GGUFReader(place).tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return counts.most_common(1)[0][0]
