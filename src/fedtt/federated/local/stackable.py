"""Whether a model's clients can train in one step, found out by trying it on one text."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fedtt import params as p
from fedtt.federated.local.client import Batch
from fedtt.federated.local.dropout_streams import ClientStreams, moves_random_state
from fedtt.params import Params
from fedtt.peft import can_batch, recomputes_activations, stacked_forwards
from fedtt.seeds import random_stream

# How far two clients may be from their own forwards, relative to the largest logit. What mixes
# rows of clients is off by as much as their parameters differ.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
NARROW_TOLERANCE = 0.1  # of bfloat16 and float16
NOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class Stackable:
    """Clients can train in one step; with ``draws``, dropout is drawn client by client."""

    draws: bool


def try_stacking(
    model: nn.Module, start: Params, trained: Collection[str], batch: Batch
) -> Stackable | None:
    """How the clients that train ``trained`` from ``start`` train in one step; None: one by one.

    The types of the modules decide first (:func:`fedtt.peft.can_batch`). Then two clients with
    different parameters read the first text of ``batch``, together and apart: a model that moves
    the batch to another dimension, say, mixes them. Last, whoever draws random numbers in training
    otherwise than through torch's dropout functions (skipped layers) cannot be given streams.
    Changes ``model`` in its mode and, to ``start``, in its parameters.
    """
    names = sorted(trained)
    # A recomputed forward runs in the backward, when the stacked parameters are out of place again.
    if recomputes_activations(model) or not can_batch(model, names):
        return None
    p.write_params(model, start)
    device = next(model.parameters()).device
    row = {key: tensor[:1].to(device) for key, tensor in batch.items() if key != "labels"}
    pair = {name: _pair(start[name].to(device), seed) for seed, name in enumerate(names)}
    rows = {key: tensor.repeat(2, 1) for key, tensor in row.items()}
    streams = ClientStreams([0, 1], device=device)
    try:
        if not _own_outputs(model, pair, row, rows):
            return None
        draws = moves_random_state(lambda: _forward(model.train(), {}, row), device=device)
        if draws:
            with stacked_forwards(model, names), streams.rows_of([0, 1]):
                if moves_random_state(lambda: _forward(model, pair, rows), device=device):
                    return None
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None  # a forward that looks at its parameters' shapes itself
    return Stackable(draws=draws)


def _own_outputs(model: nn.Module, pair: Params, row: Batch, rows: Batch) -> bool:
    model.eval()
    with stacked_forwards(model, pair):
        together = _forward(model, pair, rows)
    own = [_forward(model, {n: both[index] for n, both in pair.items()}, row) for index in (0, 1)]
    apart = torch.cat(own)
    tolerance = TOLERANCE.get(next(model.parameters()).dtype, NARROW_TOLERANCE)
    gap = float((together - apart).abs().max())
    return gap <= tolerance * max(1.0, float(apart.abs().max()))


@torch.no_grad()
def _forward(model: nn.Module, parameters: Params, inputs: Batch) -> Tensor:
    logits: Tensor = functional_call(
        model, dict(parameters), kwargs=dict(inputs), tie_weights=False
    ).logits
    return logits.float()


def _pair(value: Tensor, seed: int) -> Tensor:
    """``(2, *shape)``: the value, and the value with noise."""
    with random_stream(seed):
        return torch.stack([value, value + NOISE * torch.randn_like(value)])
