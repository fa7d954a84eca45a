"""Attention for training in 16 bits on a CPU.

There the backward pass of PyTorch's fused attention is slow: for MiniLM and texts of 24 tokens it
takes half of the whole training step in bfloat16, ten times what it takes in float32
(``benchmarks/attention.py``). Written out as two products and a softmax, attention of short texts
is faster than either; for long ones the fused kernel wins again, and needs no memory for the
scores. Everything but the training of short texts is transformers' own ``sdpa``.

Where the CPU has no instructions for 16 bits, attention is ``sdpa`` in float32, as linear layers
are (:mod:`fedtt.wide_products`).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from fedtt.wide_products import NARROW, multiplies_slowly

NAME = "fedtt_sdpa"  # of transformers' attn_implementation
SHORT = 192  # tokens: longer than this the fused kernel is the faster one


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As ``sdpa_attention_forward``: queries ``(B, H, L, D)`` to ``(B, L, H, D)``.

    Keys and values may have fewer heads than queries have. ``attention_mask`` is True where a
    query sees a key, or is added to the scores.
    """
    fused = partial(
        sdpa_attention_forward,
        module,
        dropout=dropout,
        scaling=scaling,
        is_causal=is_causal,
        **kwargs,
    )
    plain = not any(kwargs.get(name) for name in ("softcap", "cache", "output_attentions"))
    ours = plain and kwargs.get("position_bias") is None
    if ours and query.device.type == "cpu" and multiplies_slowly(query.dtype):
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.float()
        output, _ = fused(query.float(), key.float(), value.float(), attention_mask=attention_mask)
        return output.to(query.dtype), None
    if not (ours and _is_slow(query, key)):
        return fused(query, key, value, attention_mask=attention_mask)  # type: ignore[no-any-return]
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scale) @ key.mT  # (B, H, L, L)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if attention_mask is None and causal and query.shape[2] > 1:
        attention_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    weights = functional.dropout(weights, dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2).contiguous(), None


def choose_attention(model: PreTrainedModel) -> None:
    """Let ``model``, which it changes, attend with :func:`attend` where it would with ``sdpa``.

    A model that lies in 16 bits on the CPU, that is, and whose architecture lets one choose.
    """
    narrow = model.dtype in NARROW and model.device.type == "cpu"
    if narrow and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


def _is_slow(query: Tensor, key: Tensor) -> bool:
    """Whether the fused kernel's backward is to come, and takes longer than the plain products."""
    trains = torch.is_grad_enabled() and query.requires_grad
    narrow = query.device.type == "cpu" and query.dtype in NARROW
    return trains and narrow and max(query.shape[2], key.shape[2]) <= SHORT


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
