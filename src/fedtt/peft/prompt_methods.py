"""What prompt methods need of a base model beyond what PEFT sees to."""

import inspect
from typing import Any

import torch
from peft import PromptLearningConfig
from torch import Tensor, nn

from fedtt.errors import ModelError
from fedtt.peft.anatomy import model_type_of
from fedtt.peft.traits import traits_of


def fill_sizes(config: PromptLearningConfig, model: nn.Module) -> None:
    """Fill in the sizes that PEFT reads off a model's config under some names only.

    Changes ``config``. A prompt is as wide as the input embeddings, which ALBERT, ELECTRA and OPT
    have narrower than the model, and DistilBERT calls its sizes ``dim`` and ``n_layers``.
    """
    sizes: Any = model.config
    text = sizes.get_text_config()
    if config.num_layers is None:
        config.num_layers = text.num_hidden_layers
    if config.num_attention_heads is None:
        config.num_attention_heads = text.num_attention_heads
    if config.token_dim is None:
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        whole = traits_of(config).needs_cache  # keys and values are as wide as the model
        config.token_dim = text.hidden_size if whole else embeddings.weight.shape[1]


def check_takes_prefix(model: nn.Module) -> None:
    """Raise :class:`ModelError` for a model that takes no keys and values from before its input."""
    parts: list[nn.Module] = [model, *(child for _, child in model.named_children())]
    if not any("past_key_values" in inspect.signature(part.forward).parameters for part in parts):
        raise ModelError(
            "prefix tuning needs a model that takes past keys and values",
            where=f"{type(model).__name__}, model_type {model_type_of(model)}",
            fix="prompt tuning or p-tuning, which need none",
        )


def read_at_last_token(model: nn.Module) -> None:
    """Make a decoder that classifies read its last real token, also of embeddings.

    Changes ``model``. A prompt method hands the model embeddings, in which transformers cannot see
    padding: it then reads the last position, the padding of all but the longest text. A hook
    moves the padding to the left (and numbers the positions from the first real token), where it
    does no harm. Inputs of token ids, or without an attention mask, pass as they are.
    """
    model.register_forward_pre_hook(_padding_to_the_left, with_kwargs=True)


def _padding_to_the_left(
    module: nn.Module,  # noqa: ARG001 (torch's signature)
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    embeds: Tensor | None = kwargs.get("inputs_embeds")  # (batch, length, width)
    mask: Tensor | None = kwargs.get("attention_mask")  # (batch, length)
    if embeds is None or mask is None:
        return None
    order = torch.argsort(mask != 0, dim=1, stable=True)
    moved = mask.gather(1, order)
    return args, {
        **kwargs,
        "inputs_embeds": embeds.gather(1, order.unsqueeze(-1).expand_as(embeds)),
        "attention_mask": moved,
        "position_ids": (moved.long().cumsum(1) - 1).clamp(min=0),
    }
