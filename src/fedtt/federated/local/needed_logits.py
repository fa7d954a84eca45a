"""The logits that a loss needs: of a language model those at certain tokens, and no others.

A vocabulary is wide: at every token of a batch its logits are a fifth of SmolLM2-135M's arithmetic,
and more memory than a layer keeps. Who compares the words after a prompt, or learns a completion,
looks at a few of them. So the hidden states of the other tokens do not reach the output layer.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.func import functional_call

from fedtt.federated.local.client import Batch
from fedtt.peft import contracted_together

TARGETS = "labels"  # the key of a batch that no model sees: the loss is computed from the logits
AT = "logits_at"  # nor this one: (b, k), the positions of a text at which it has logits
NO_TOKEN = -1  # fills AT up where a text has fewer

LossOfLogits = Callable[[Tensor, Batch], Tensor]
Positions = Callable[[Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class LogitLoss:
    """``of(logits, batch)``, the mean loss of a batch.

    With ``positions`` the logits are ``(b, k, vocabulary)`` at the positions ``(b, k)`` that it
    gives for a batch, ascending and filled up with ``NO_TOKEN``, which the batch has under ``AT``.
    """

    of: LossOfLogits
    positions: Positions | None = None


def needed_logits(
    model: nn.Module,
    batch: Batch,
    *,
    positions: Positions | None = None,
    call: Callable[..., Any] | None = None,
) -> tuple[Tensor, Batch]:
    """The logits for the inputs of a batch, and that batch, with ``AT`` if there are positions.

    ``(b, classes)`` of a classifier. Of a language model ``(b, k, vocabulary)``; without
    ``positions``, at all of the batch's own tokens: those of virtual tokens, which prompt methods
    put before them, are left out. ``call`` calls the model where that is not ``model(**inputs)``.
    """
    device = next(model.parameters()).device
    inputs = {key: tensor.to(device) for key, tensor in batch.items() if key != TARGETS}
    call = call or model
    length = batch["input_ids"].shape[1]
    if positions is None:
        with contracted_together(model):
            logits: Tensor = call(**inputs).logits
        return (logits if logits.ndim == 2 else logits[:, -length:]), batch
    at = positions(batch)
    with _only_at(at, model, length=length) as kept, contracted_together(model):
        logits = call(**inputs).logits
    if not kept:
        logits = logits_at(logits, at, length=length)
    return logits, {**batch, AT: at}


def call_with(model: nn.Module, values: Mapping[str, Tensor]) -> Callable[..., Any]:
    """What calls the model with these tensors in the places of its own."""
    return lambda **inputs: functional_call(model, dict(values), kwargs=inputs, tie_weights=False)


@contextmanager
def _only_at(at: Tensor, model: nn.Module, *, length: int) -> Iterator[list[bool]]:
    """The output layer sees these hidden states alone; the list stays empty where it does not.

    As where it is no module that the model calls, or sees the text in parts; and where an adapter
    is on it, whose dropout draws for all tokens, or which looks for its own.
    """
    kept: list[bool] = []

    def keep(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or args[0].ndim != 3 or args[0].shape[1] < length:
            return None
        kept.append(True)
        return (logits_at(args[0], at, length=length), *args[1:])

    base: Any = model
    if hasattr(base, "get_base_model"):  # PEFT's
        base = base.get_base_model()
    head = base.get_output_embeddings()
    if head is None or isinstance(head, BaseTunerLayer):
        yield kept
        return
    hook = head.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def logits_at(states: Tensor, at: Tensor, *, length: int) -> Tensor:
    """``(b, k, n)`` of ``(b, virtual tokens + length, n)``: logits, or what becomes them."""
    index = at.clamp(min=0).to(states.device) + (states.shape[1] - length)
    return torch.take_along_dim(states, index[..., None], dim=1)
