"""Memory of one local step on a client, counted without weights.

What is held is the sum of three counts, in bytes:

- ``frozen``: parameters and buffers of the adapted model that the step does not train, tied ones
  once, in the types in which they are held;
- ``trained``: 4 x the trained parameters' own bytes: the float32 value, its gradient, and the two
  moments of AdamW;
- ``activations``: what autograd keeps from the forward pass for the backward pass,
  ``sum over distinct storages s of saved tensors, s not a parameter's or buffer's, of size(s)``.

The last is no rule of thumb: the real forward pass, adapter, loss and dropout included, runs on
fake tensors, which have shapes, types and storages but no memory, and every saved tensor is looked
at (``torch.autograd.graph.saved_tensors_hooks``). It holds for the kernels that torch chooses on a
CPU, for a padded batch, without gradient checkpointing. It is no peak: the backward pass's own
temporaries, an allocator's waste and copies that a client keeps to form its update come on top.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from fedtt.quiet_logger import quiet_logger

# The parameter itself, its gradient, and two moments.
ADAMW_COPIES = 4
# What a forward pass raises that real tensors would fail in, too, or that needs their values.
UNCOUNTABLE = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class ClientMemory:
    """What a client holds in a local step, in bytes.

    ``activation_bytes`` is None where the forward pass cannot be run without values;
    ``activation_problem`` says why.
    """

    frozen_bytes: int
    trained_parameters: int
    trained_bytes: int
    activation_bytes: int | None
    activation_problem: str | None = None

    @property
    def total_bytes(self) -> int | None:
        """Everything, None where the activations are not known."""
        if self.activation_bytes is None:
            return None
        return self.frozen_bytes + self.trained_bytes + self.activation_bytes


def held_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of ``model``, those with several names once."""
    return sum(_size(tensor) for tensor in (*model.parameters(), *model.buffers()))


def count_memory(
    model: PeftModel, trained: Collection[str], *, task: str, batch_size: int, length: int
) -> ClientMemory:
    """Memory of a step that trains ``trained`` on ``batch_size`` texts, padded to ``length``.

    Changes ``model``, which lies on the meta device: afterwards it is of fake tensors.
    """
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        weight.requires_grad_(name in trained)
    trained_bytes = sum(_size(weights[name]) for name in trained)
    activations, problem = None, None
    frozen = held_bytes(model) - trained_bytes
    try:
        activations = saved_bytes(model, task=task, batch_size=batch_size, length=length)
    except UNCOUNTABLE as error:
        lines = str(error).strip().splitlines()
        problem = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return ClientMemory(
        frozen_bytes=frozen,
        trained_parameters=sum(weights[name].numel() for name in trained),
        trained_bytes=ADAMW_COPIES * trained_bytes,
        activation_bytes=activations,
        activation_problem=problem,
    )


def saved_bytes(model: nn.Module, *, task: str, batch_size: int, length: int) -> int:
    """Bytes that autograd keeps for the backward pass of one training step; see the module.

    Changes ``model``, which lies on the meta device: afterwards it is of fake tensors.
    """
    # Some code makes small real tensors, of constants, and mixes them in.
    # Without torch's own report of a fake operation that failed: the error says it.
    quiet = quiet_logger("torch._subclasses.fake_tensor", level=logging.CRITICAL)
    with FakeTensorMode(allow_non_fake_inputs=True), quiet:
        _make_fake(model)
        model.train()
        own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
        saved: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: Tensor) -> Tensor:
            saved[_storage(tensor)] = tensor.untyped_storage()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            # The loss is held until the end, and with it every storage: none is used twice.
            loss = model(**_batch(task, batch_size=batch_size, length=length)).loss
        total = sum(storage.nbytes() for key, storage in saved.items() if key not in own)
        del loss
    return total


def _batch(task: str, *, batch_size: int, length: int) -> Mapping[str, Tensor]:
    """Shapes of a padded batch; causal models learn every token, classifiers one label a text."""
    ids = torch.ones(batch_size, length, dtype=torch.long)
    # Storages of their own, as a real batch has: a view would count for the whole.
    labels = torch.ones(ids.shape if task == "causal" else (batch_size,), dtype=torch.long)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def _make_fake(model: nn.Module) -> None:
    """Put a fake CPU tensor in the place of every parameter and buffer; tied ones stay tied."""
    made: dict[Tensor, Tensor] = {}
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for held in tables:
            for name, tensor in held.items():
                if tensor is not None:
                    made.setdefault(tensor, _fake(tensor))
                    held[name] = made[tensor]


def _fake(tensor: Tensor) -> Tensor:
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fake, requires_grad=tensor.requires_grad)
    return fake


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
