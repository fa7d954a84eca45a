"""Digests that tell whether data or base weights are still those that a run began with."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import fields

import numpy as np
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BasePromptEncoder, BaseTunerLayer
from torch import Tensor, nn

from fedtt.data import Held, TokenizedTexts
from fedtt.federated.wire.payload import encode
from fedtt.params import Params
from fedtt.peft.modules_of_type import modules_of_type

SAMPLE = 256  # values of every tensor that enter one by one
FEW = 8  # of what an adapter added and keeps frozen


def digest_texts(held: Held[TokenizedTexts]) -> str:
    """Of one split: who holds what, labels and tokens as a model sees them."""
    parts, texts = held.parts, held.pool
    digest = hashlib.sha256(repr(parts.names).encode())
    columns = {"order": parts.order, "ends": parts.offsets}
    columns |= {field.name: getattr(texts, field.name) for field in fields(texts)}
    for name, value in columns.items():
        whole = isinstance(value, np.ndarray)
        digest.update(f"{name} {(value.dtype, value.shape) if whole else value}".encode())
        digest.update(np.ascontiguousarray(value).data if whole else b"")
    return digest.hexdigest()


def digest_base(model: PeftModel, initial: Params) -> str:
    """Of the base model, its head included, as it was before training.

    ``initial`` stands in for the parameters that training has changed in ``model`` since; what the
    adapter added is left out. Of every tensor its bits enter as their integer sum and as a sample
    in order: the same on every device and for any number of threads, at the price of one pass.
    """
    added = {id(parameter) for parameter in _added_parameters(model)}
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if id(parameter) not in added:
            tensor = initial.get(name, parameter.detach())
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {_bits(tensor)}".encode())
    return digest.hexdigest()


def sample_frozen(model: nn.Module, exchanged: Collection[str]) -> dict[str, list[float]]:
    """A few values of what the adapter added and nobody sends: FFA-LoRA's A, LoRA-XS's frames.

    They are drawn from the seed or computed from the base model, so that two machines have the same
    up to rounding; values, because a digest would tell apart what rounds differently.
    """
    added = {id(tensor) for tensor in _added_tensors(model)}
    everything = [*model.named_parameters(), *model.named_buffers()]
    return {
        name: _spread(tensor.detach())
        for name, tensor in sorted(everything, key=lambda item: item[0])
        if id(tensor) in added and name not in exchanged and tensor.is_floating_point()
    }


def digest_unsent(model: PeftModel, exchanged: Collection[str]) -> str:
    """Of the model's configuration, and of every bit of it that nobody sends.

    Unlike :func:`digest_base`, for one machine alone, and against whoever makes a base model on
    purpose: no two models have the same.
    """
    sent = {q.data_ptr() for name, q in model.named_parameters() if name in exchanged}
    settings = model.config.to_dict()
    settings = {key: settings[key] for key in sorted(settings) if key != "_name_or_path"}
    digest = hashlib.sha256(repr(settings).encode())
    everything = {**dict(model.named_buffers()), **model.state_dict()}  # scales of few bits too
    for name, tensor in sorted(everything.items()):
        if name not in exchanged and isinstance(tensor, Tensor) and tensor.data_ptr() not in sent:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(
                tensor.detach().reshape(-1).cpu().contiguous().view(torch.uint8).numpy().data
            )
    return digest.hexdigest()


def digest_of_start(params: Params) -> str:
    """Of every bit that a run begins with: who has the same is not sent it."""
    return hashlib.sha256(encode(params)).hexdigest()


def _added_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    for _, encoder in modules_of_type(model, BasePromptEncoder):
        yield from encoder.parameters()
    yield from (q for q in _added_tensors(model) if isinstance(q, nn.Parameter))


def _added_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers of the adapter's layers, without their base layers' own."""
    for _, layer in modules_of_type(model, BaseTunerLayer):
        base = layer.get_base_layer()
        own = {id(tensor) for tensor in (*base.parameters(), *base.buffers())}
        yield from (q for q in (*layer.parameters(), *layer.buffers()) if id(q) not in own)


def _spread(tensor: Tensor) -> list[float]:
    flat = tensor.reshape(-1)
    picked: list[float] = flat[:: max(1, flat.numel() // FEW)][:FEW].double().tolist()
    return picked


def _bits(tensor: Tensor) -> tuple[int, list[int]]:
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.contiguous().view(kinds[tensor.element_size()]).reshape(-1)
    stride = max(1, bits.numel() // SAMPLE)
    return int(bits.sum(dtype=torch.int64)), bits[::stride].tolist()
