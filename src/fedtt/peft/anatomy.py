"""Where the known architectures keep the layers that residual adapters attach to."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn

from fedtt.errors import ModelError
from fedtt.peft.layer_widths import describe_candidates


def _count_hidden_layers(text_config: Any) -> int:
    return int(text_config.num_hidden_layers)


def _count_albert_layers(text_config: Any) -> int:
    # The layers of a group are shared by all passes through it.
    return int(text_config.num_hidden_groups * text_config.inner_group_num)


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Names of the layers of an architecture.

    ``block`` is a regular expression of the end of a block's name; ``attention`` and ``mlp`` are
    the output projections, relative to the block; ``query_value`` are the ends of the names of the
    layers that make queries and values, the usual places of LoRA; ``classifier_dense`` is the end
    of the name of the hidden x hidden layer between the encoder and the final projection, if there
    is one.
    """

    block: str
    attention: str
    mlp: str
    query_value: tuple[str, ...] = ("query", "value")
    classifier_dense: str | None = None
    count_blocks: Callable[[Any], int] = _count_hidden_layers

    @property
    def pattern(self) -> str:
        """Regular expression of the whole names of both output projections of every block."""
        return rf"(?:.*\.)?{self.block}\.{_one_of(self.attention, self.mlp)}"

    @property
    def query_value_pattern(self) -> str:
        """Regular expression of the whole names of the query and value layers of every block."""
        return rf"(?:.*\.)?{self.block}\.(?:.*\.)?{_one_of(*self.query_value)}"


def _one_of(*names: str) -> str:
    return f"(?:{'|'.join(re.escape(name) for name in names)})"


def _bert(classifier_dense: str, *query_value: str) -> Anatomy:
    return Anatomy(
        block=r"encoder\.layer\.\d+",
        attention="attention.output.dense",
        mlp="output.dense",
        query_value=query_value or ("query", "value"),
        classifier_dense=classifier_dense,
    )


def _llama(*query_value: str) -> Anatomy:
    return Anatomy(
        block=r"layers\.\d+",
        attention="self_attn.o_proj",
        mlp="mlp.down_proj",
        query_value=query_value,
    )


_LLAMA = _llama("q_proj", "v_proj")
# Beside its language model lies a vision tower, whose layers have the same names.
_GEMMA3 = replace(_LLAMA, block=r"language_model\.layers\.\d+")

ANATOMIES: dict[str, Anatomy] = {
    "albert": Anatomy(
        block=r"encoder\.albert_layer_groups\.\d+\.albert_layers\.\d+",
        attention="attention.dense",
        mlp="ffn_output",
        classifier_dense="pooler",
        count_blocks=_count_albert_layers,
    ),
    "bert": _bert("pooler.dense"),
    "camembert": _bert("classifier.dense"),
    "deberta": _bert("pooler.dense", "in_proj"),
    "deberta-v2": _bert("pooler.dense", "query_proj", "value_proj"),
    "distilbert": Anatomy(
        block=r"transformer\.layer\.\d+",
        attention="attention.out_lin",
        mlp="ffn.lin2",
        query_value=("q_lin", "v_lin"),
        classifier_dense="pre_classifier",
    ),
    "electra": _bert("classifier.dense"),
    "gemma": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3": _GEMMA3,
    "gemma3_text": _LLAMA,
    "gpt2": Anatomy(
        block=r"h\.\d+", attention="attn.c_proj", mlp="mlp.c_proj", query_value=("c_attn",)
    ),
    "gpt_neox": Anatomy(
        block=r"layers\.\d+",
        attention="attention.dense",
        mlp="mlp.dense_4h_to_h",
        query_value=("query_key_value",),
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mpnet": Anatomy(
        block=r"encoder\.layer\.\d+",
        attention="attention.attn.o",
        mlp="output.dense",
        query_value=("attn.q", "attn.v"),
        classifier_dense="classifier.dense",
    ),
    "opt": Anatomy(
        block=r"layers\.\d+",
        attention="self_attn.out_proj",
        mlp="fc2",
        query_value=("q_proj", "v_proj"),
    ),
    "phi3": _llama("qkv_proj"),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _bert("classifier.dense"),
    "xlm-roberta": _bert("classifier.dense"),
}

# Where LoRA and its kin go by default: PEFT's choice where it has one, else queries and values.
LORA_TARGETS: Mapping[str, list[str] | str] = {
    **{model_type: anatomy.query_value_pattern for model_type, anatomy in ANATOMIES.items()},
    **TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
}


def model_type_of(model: nn.Module) -> str | None:
    """``config.model_type`` of a transformers model, else ``None``."""
    found = getattr(getattr(model, "config", None), "model_type", None)
    return found if isinstance(found, str) else None


def projection_pattern(model: nn.Module, *, config_name: str) -> str:
    """Regular expression of the names of the output projections of every block of ``model``.

    ``config_name`` is the class whose ``target_modules`` the way out names.

    Raises:
        ModelError: an unknown architecture (the message lists what could be adapted), or blocks
            in which not both projections were found.
    """
    model_type = model_type_of(model)
    anatomy = ANATOMIES.get(model_type or "")
    if anatomy is None:
        raise ModelError(
            "the adapter does not know where this architecture has its output projections",
            where=f"{type(model).__name__}, model_type {model_type}",
            got=f"linear layers as wide as the model: {describe_candidates(model)}",
            expected=f"model_type {', '.join(sorted(ANATOMIES))}",
            fix="name the output projections of attention and MLP: "
            f'{config_name}(target_modules=["...", "..."])',
        )
    text_config: Any = model.config
    expected = 2 * anatomy.count_blocks(text_config.get_text_config())
    found = [name for name, _ in model.named_modules() if re.fullmatch(anatomy.pattern, name)]
    if len(found) != expected:
        raise ModelError(
            f"found {len(found)} output projections, not the two of every block",
            where=f"{type(model).__name__}, model_type {model_type}",
            got=f"{', '.join(found[:4]) or 'none'}{', ...' if len(found) > 4 else ''}",
            expected=f"{expected}, of {expected // 2} blocks: {anatomy.attention}, {anatomy.mlp}",
            fix=f"name the output projections yourself: {config_name}(target_modules=[...])",
        )
    return anatomy.pattern


def classifier_dense_name(model: nn.Module, *, suffix: str | None) -> str:
    """Name of the dense layer of ``model``'s classifier: ``suffix``, or that of its architecture.

    Raises:
        ModelError: an architecture whose classifier has no dense layer, or no or several modules
            of that name.
    """
    model_type = model_type_of(model)
    where = f"{type(model).__name__}, model_type {model_type}"
    anatomy = ANATOMIES.get(model_type or "")
    ending = suffix or (anatomy.classifier_dense if anatomy else None)
    if ending is None:
        raise ModelError(
            "no dense layer to tensorize is known in the classifier of this architecture",
            where=where,
            expected="an encoder with a dense layer before the final projection: model_type "
            + ", ".join(sorted(name for name, a in ANATOMIES.items() if a.classifier_dense)),
            fix="leave tensorize_classifier off, or name the layer: classifier_dense='...'",
        )
    pattern = rf"(?:.*\.)?{re.escape(ending)}"
    found = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    if len(found) != 1:
        raise ModelError(
            f"the classifier's dense layer is not one module named {ending}",
            where=where,
            got=f"{', '.join(found) or 'no such module'}",
            expected="a sequence classification model",
            fix="leave tensorize_classifier off, or name the layer: classifier_dense='...'",
        )
    name: str = found[0]
    return name
