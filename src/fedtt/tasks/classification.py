"""Classification by a head: the class of a text, or of a pair of texts."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedtt.data import TokenizedTexts, collate, tokenize
from fedtt.data.tokens import Tokenizer
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import TARGETS, Positions
from fedtt.metrics import ACCURACY, Score, Scored, classification_metrics, official_metrics
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.task import ClassLogits, Outcomes, Task, Tokenize, class_scores


def build(inputs: TaskInputs) -> Task:
    """The task, as ``[task]`` describes it."""
    return classification(
        tokenizer=inputs.tokenizer, pad_token_id=inputs.pad_token_id, metrics=inputs.metrics
    )


def classification(*, tokenizer: Tokenizer, pad_token_id: int, metrics: Sequence[str] = ()) -> Task:
    """The task of a sequence-classification model; ``metrics`` as in :func:`task_of_classes`."""
    return task_of_classes(
        model_class="classification",
        tokenize=partial(tokenize, tokenizer=tokenizer),
        class_logits=_all_logits,
        pad_token_id=pad_token_id,
        metrics=metrics,
    )


def task_of_classes(
    *,
    model_class: str,
    tokenize: Tokenize,
    class_logits: ClassLogits,
    pad_token_id: int,
    metrics: Sequence[str],
    positions: Positions | None = None,
) -> Task:
    """A task with classes, wherever the model has a logit for each of them.

    ``metrics`` are the official ones of a named task, the headline one first (names of
    ``fedtt.metrics.METRICS``); without them, accuracy. The usual ones of classes are there too.
    """
    headline = Score(name=metrics[0], higher_is_better=True) if metrics else ACCURACY
    return Task(
        model_class=model_class,
        score=headline,
        tokenize=tokenize,
        loss=partial(_loss, class_logits),
        judge=partial(_judge, partial(class_scores, class_logits, positions), pad_token_id),
        metrics=partial(_metrics, tuple(metrics)),
        class_logits=class_logits,
        positions=positions,
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
    scores_of: Callable[[nn.Module, Batch], Tensor],
    pad_token_id: int,
    model: nn.Module,
    data: TokenizedTexts,
    indices: np.ndarray,
) -> Outcomes:
    batch = collate(data, indices, pad_token_id=pad_token_id)
    scores = scores_of(model, batch)
    losses = cross_entropy(scores, batch[TARGETS], reduction="none")
    # A NaN has no place among classes; the loss keeps it, and whoever judges looks there.
    losses = torch.where(torch.isfinite(scores).all(dim=1), losses, torch.nan)
    return {
        "scores": scores.numpy(),
        "label": batch[TARGETS].numpy(),
        "loss": losses.double().numpy(),
        **truth_of(data, indices),
    }


def truth_of(data: TokenizedTexts, indices: np.ndarray) -> Outcomes:
    """Groups and targets of these examples, where they have any."""
    columns = {"group": data.groups, "target": data.targets}
    return {
        name: np.array([column[int(index)] for index in indices], dtype=object)
        for name, column in columns.items()
        if column is not None
    }


def scored_of(outcomes: Outcomes) -> Scored:
    """Outcomes as the official metrics look at them."""
    targets, groups = outcomes.get("target"), outcomes.get("group")
    return Scored(
        scores=outcomes["scores"],
        labels=outcomes["label"],
        targets=None if targets is None else targets.astype(np.float64),
        groups=None if groups is None else groups.tolist(),
    )


def _metrics(names: Sequence[str], outcomes: Outcomes) -> dict[str, float]:
    scored = scored_of(outcomes)
    official = official_metrics(names, scored)
    usual = classification_metrics(scored.predictions, scored.labels)
    return {**official, **usual, "loss": float(outcomes["loss"].mean())}
