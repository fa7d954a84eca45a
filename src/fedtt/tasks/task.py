"""A task as a value: everything in which learning tasks differ from each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fedtt.data import LabeledTexts, TokenizedTexts
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import LogitLoss, Positions, needed_logits
from fedtt.metrics import Score

# What is known of every judged example: name -> a value or a row an example, (n,) or (n, k).
Outcomes = Mapping[str, np.ndarray]
ClassLogits = Callable[[Tensor, Batch], Tensor]
ClientLoss = Callable[[TokenizedTexts], LogitLoss]  # of the client that has these examples


class Loss(Protocol):
    """The mean loss of a batch, from the model's logits."""

    def __call__(self, logits: Tensor, batch: Batch, *, shift: Tensor | None = None) -> Tensor:
        """``shift (classes,)`` is added to the logits of the classes: see :func:`log_prior`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a model learns.

    ``model_class`` is a key of ``models.TASK_CLASSES``. ``tokenize(texts, max_length=...)`` counts
    what it cuts. ``judge(model, data, indices)`` looks at these examples without training;
    ``metrics`` sums up any number of them, ``score`` first. ``class_logits(logits, batch)`` gives
    ``(b, classes)``; None where the task has no classes. ``numbers(logits)`` gives ``(b,)``, what a
    regression says; None where the task says no number. Judging writes at most ``max_new_tokens``
    tokens after a prompt. ``positions`` says at which tokens of a causal model ``loss`` and
    ``class_logits`` need logits (see :class:`LogitLoss`); None: they get those at all of them.
    """

    model_class: str
    score: Score
    tokenize: "Tokenize"
    loss: Loss
    judge: Callable[[nn.Module, TokenizedTexts, np.ndarray], Outcomes]
    metrics: Callable[[Outcomes], dict[str, float]]
    class_logits: ClassLogits | None = None
    numbers: Callable[[Tensor], Tensor] | None = None
    max_new_tokens: int = 0
    positions: Positions | None = None


class Tokenize(Protocol):
    """Texts as token ids, with what is to be learned of them."""

    def __call__(self, texts: LabeledTexts, *, max_length: int) -> TokenizedTexts:
        """At most ``max_length`` tokens each."""
        ...


def class_scores(
    class_logits: ClassLogits, positions: Positions | None, model: nn.Module, batch: Batch
) -> Tensor:
    """What the model has for each class, ``(b, classes)``, in float32 on the CPU, to look at."""
    logits, seen = needed_logits(model, batch, positions=positions)
    return class_logits(logits.detach(), seen).float().cpu()


def log_prior(label_counts: Sequence[int], *, strength: float) -> Tensor:
    """``strength * log prior`` of a client's own labels, ``(classes,)``: logit adjustment.

    A client that sees one label nearly always learns nothing by preferring it once this is added
    to its logits in the loss (Menon et al. 2021, arXiv 2007.07314; per client as in FedLC, Zhang et
    al. 2022, arXiv 2209.00189). Nothing extra is sent, and predictions use the logits as they are.
    Counts are smoothed by one, so a label that the client never sees keeps a finite prior.
    """
    counts = torch.tensor(label_counts, dtype=torch.float32) + 1.0
    return strength * torch.log(counts / counts.sum())


def client_loss(task: Task, *, num_classes: int, logit_adjustment: float) -> ClientLoss:
    """The task's loss; with logit adjustment, each client's :func:`log_prior` on its logits."""

    def loss_of(data: TokenizedTexts) -> LogitLoss:
        shift = None
        if logit_adjustment:
            counts = np.bincount(data.labels, minlength=num_classes).tolist()
            shift = log_prior(counts, strength=logit_adjustment)
        return LogitLoss(of=partial(task.loss, shift=shift), positions=task.positions)

    return loss_of


def join_outcomes(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several sets of examples as those of one. There is at least one part."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
