"""Classification by a head: the class of a text, or of a pair of texts."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedtt.data import TokenizedTexts, collate, tokenize
from fedtt.data.tokens import Tokenizer
from fedtt.metrics import ACCURACY, classification_metrics
from fedtt.tasks.task import TARGETS, Batch, Outcomes, Task, Tokenize, logits_of

ClassLogits = Callable[[Tensor, Batch], Tensor]


def classification(*, tokenizer: Tokenizer, pad_token_id: int) -> Task:
    """The task of a sequence-classification model."""
    return task_of_classes(
        model_class="classification",
        tokenize=partial(tokenize, tokenizer=tokenizer),
        class_logits=_all_logits,
        pad_token_id=pad_token_id,
    )


def task_of_classes(
    *, model_class: str, tokenize: Tokenize, class_logits: ClassLogits, pad_token_id: int
) -> Task:
    """A task with classes, wherever the model has a logit for each of them."""
    return Task(
        model_class=model_class,
        score=ACCURACY,
        tokenize=tokenize,
        loss=partial(_loss, class_logits),
        judge=partial(_judge, class_logits, pad_token_id),
        metrics=_metrics,
        class_logits=class_logits,
    )


def _all_logits(logits: Tensor, batch: Batch) -> Tensor:  # noqa: ARG001 (as ClassLogits is)
    return logits


def _loss(
    class_logits: ClassLogits, logits: Tensor, batch: Batch, *, shift: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy in nats, in float32."""
    scores = class_logits(logits, batch).float()
    if shift is not None:
        scores = scores + shift.to(scores.device)
    return cross_entropy(scores, batch[TARGETS].to(scores.device))


def _judge(
    class_logits: ClassLogits,
    pad_token_id: int,
    model: nn.Module,
    data: TokenizedTexts,
    indices: np.ndarray,
) -> Outcomes:
    batch = collate(data, indices, pad_token_id=pad_token_id)
    scores = class_logits(logits_of(model, batch).detach(), batch).float().cpu()
    losses = cross_entropy(scores, batch[TARGETS], reduction="none")
    # A NaN has no place among classes; the loss keeps it, and whoever judges looks there.
    losses = torch.where(torch.isfinite(scores).all(dim=1), losses, torch.nan)
    return {
        "label": batch[TARGETS].numpy(),
        "class": scores.argmax(dim=1).numpy(),
        "loss": losses.double().numpy(),
    }


def _metrics(outcomes: Outcomes) -> dict[str, float]:
    scores = classification_metrics(outcomes["class"], outcomes["label"])
    return {**scores, "loss": float(outcomes["loss"].mean())}
