"""Every example's own gradient: a cohort in which each example is a client of its own.

All of them have the same parameters, which are put into the one model with a leading dimension, as
those of clients that train together are; so one backward gives a row an example. What cannot be
stacked goes one example after another.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fedtt.federated.local.alone import LossFunction
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import LogitLoss, call_with, needed_logits
from fedtt.federated.local.stacked_cohort import client_losses
from fedtt.peft import stacked_forwards

# (model, the parameters in the order of the row, a batch (b, ...)) -> gradients (b, D)
ExampleGradients = Callable[[nn.Module, Mapping[str, nn.Parameter], Batch], Tensor]


def stacked_gradients(loss: LogitLoss) -> ExampleGradients:
    """In one forward and backward, for a model of which ``try_stacking`` says that it can.

    Dropout draws an example's mask from one stream for all: what is hidden is who gets which, not
    that they are shared out.
    """

    def gradients(model: nn.Module, weights: Mapping[str, nn.Parameter], batch: Batch) -> Tensor:
        count = len(batch["labels"])
        leaves = [
            weight.detach().expand(count, *weight.shape).requires_grad_()
            for weight in weights.values()
        ]
        own = dict(zip(weights, leaves, strict=True))
        with stacked_forwards(model, weights):
            logits, batch = needed_logits(
                model, batch, positions=loss.positions, call=call_with(model, own)
            )
        losses = client_losses(logits, batch, rows=[1] * count, losses=[loss.of] * count)
        found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        return _rows(found, leaves)

    return gradients


def gradients_one_by_one(loss: LossFunction) -> ExampleGradients:
    """A forward and a backward an example, for any model."""

    def gradients(model: nn.Module, weights: Mapping[str, nn.Parameter], batch: Batch) -> Tensor:
        own = []
        for row in range(len(batch["labels"])):
            example = {key: tensor[row : row + 1] for key, tensor in batch.items()}
            found = torch.autograd.grad(
                loss(model, example), list(weights.values()), allow_unused=True
            )
            own.append(_rows([None if g is None else g[None] for g in found], _first(weights)))
        return torch.cat(own)

    return gradients


def _first(weights: Mapping[str, nn.Parameter]) -> list[Tensor]:
    return [weight.detach()[None] for weight in weights.values()]


def _rows(found: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> Tensor:
    """``(b, D)`` on the first one's device; zeros for what the model does not use."""
    device = leaves[0].device
    parts = [
        (torch.zeros_like(leaf) if gradient is None else gradient).flatten(1).to(device)
        for gradient, leaf in zip(found, leaves, strict=True)
    ]
    return torch.cat(parts, dim=1)
