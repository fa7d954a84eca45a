"""Regression: one number for a text, or for a pair of texts."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fedtt.data import LabeledTexts, TokenizedTexts, collate, tokenize
from fedtt.data.tokens import Tokenizer
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import TARGETS, needed_logits
from fedtt.metrics import CONSTANT, Score, official_metrics
from fedtt.tasks.classification import scored_of
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.task import Outcomes, Task

METRICS = ("pearson", "spearman")
CONSTANT_SHARE = 0.01  # of the truth's spread: numbers that vary less say nothing of a text


def build(inputs: TaskInputs) -> Task:
    """The task, as ``[task]`` describes it."""
    return regression(tokenizer=inputs.tokenizer, pad_token_id=inputs.pad_token_id)


def regression(*, tokenizer: Tokenizer, pad_token_id: int) -> Task:
    """The task of a sequence classifier with one output, which learns the texts' ``targets``."""
    return Task(
        model_class="classification",
        score=Score(name=METRICS[0], higher_is_better=True),
        tokenize=partial(_tokenize, tokenizer),
        loss=_loss,
        judge=partial(_judge, pad_token_id),
        metrics=_metrics,
        numbers=_numbers,
    )


def _tokenize(tokenizer: Tokenizer, texts: LabeledTexts, *, max_length: int) -> TokenizedTexts:
    """The texts with their targets, float32, in place of the bins that stand in for labels."""
    if texts.targets is None:
        raise AssertionError("a regression is built for data with targets")
    tokenized = tokenize(texts, tokenizer, max_length=max_length)
    return replace(tokenized, labels=np.array(texts.targets, dtype=np.float32))


def _numbers(logits: Tensor) -> Tensor:
    """The one output of each text, ``(b,)``, in float32, on the scale of the ``targets``."""
    return logits.float().squeeze(-1)


def _loss(logits: Tensor, batch: Batch, *, shift: Tensor | None = None) -> Tensor:  # noqa: ARG001 (as Loss is: no classes to shift)
    """Mean squared error, in float32."""
    numbers = _numbers(logits)
    return mse_loss(numbers, batch[TARGETS].to(numbers.device))


def _judge(
    pad_token_id: int, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    batch = collate(data, indices, pad_token_id=pad_token_id)
    logits, _ = needed_logits(model, batch)
    numbers = _numbers(logits.detach()).cpu()
    true = batch[TARGETS]
    return {
        "scores": numbers.numpy(),
        "label": torch.zeros_like(true, dtype=torch.int64).numpy(),
        "target": true.double().numpy(),
        "loss": (numbers - true).double().square().numpy(),
    }


def _metrics(outcomes: Outcomes) -> dict[str, float]:
    correlations = official_metrics(METRICS, scored_of(outcomes))
    collapsed = np.std(outcomes["scores"]) < CONSTANT_SHARE * np.std(outcomes["target"])
    loss = float(outcomes["loss"].mean())
    return {**correlations, CONSTANT: float(collapsed), "loss": loss}
