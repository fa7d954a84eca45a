"""Causal language modeling: every token from those before it."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedtt.data import TokenizedTexts, collate, tokenize_texts
from fedtt.data.tokens import IGNORED, Tokenizer
from fedtt.metrics import Score
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.task import TARGETS, Batch, Outcomes, Task, logits_of

PERPLEXITY = Score(name="perplexity", higher_is_better=False)


def build(inputs: TaskInputs) -> Task:
    """The task, as ``[task]`` describes it."""
    return language_modeling(tokenizer=inputs.tokenizer, pad_token_id=inputs.pad_token_id)


def language_modeling(*, tokenizer: Tokenizer, pad_token_id: int) -> Task:
    """The task of a causal language model on plain texts, each ended by the end token."""
    return Task(
        model_class="causal",
        score=PERPLEXITY,
        tokenize=partial(tokenize_texts, tokenizer=tokenizer),
        loss=token_loss,
        judge=partial(judge_tokens, pad_token_id),
        metrics=token_metrics,
    )


def token_loss(logits: Tensor, batch: Batch, *, shift: Tensor | None = None) -> Tensor:  # noqa: ARG001 (as Loss is: no classes to shift)
    """Mean nats of the batch's target tokens, every token weighing the same."""
    kept, targets = _at_targets(logits, batch)
    return cross_entropy(kept, targets)


def judge_tokens(
    pad_token_id: int, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    """For every example the nats of its target tokens, and how many these are."""
    batch = collate(data, indices, pad_token_id=pad_token_id)
    kept, targets = _at_targets(logits_of(model, batch).detach(), batch)
    rows = _is_target(batch).nonzero()[:, 0]
    nats = cross_entropy(kept, targets, reduction="none").double().cpu()
    total = torch.zeros(len(indices), dtype=torch.float64).index_add_(0, rows, nats)
    return {"nats": total.numpy(), "tokens": rows.bincount(minlength=len(indices)).numpy()}


def token_metrics(outcomes: Outcomes) -> dict[str, float]:
    """``{"perplexity", "loss"}``: ``exp`` of the mean nats a token, and these."""
    loss = float(outcomes["nats"].sum() / max(1, outcomes["tokens"].sum()))
    return {"perplexity": float(np.exp(min(loss, 700.0))), "loss": loss}  # e^709 is infinite


def _is_target(batch: Batch) -> Tensor:
    return batch[TARGETS][:, 1:] != IGNORED


def _at_targets(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits ``(targets, vocabulary)`` in float32 where a target follows, and these tokens."""
    here = _is_target(batch)
    kept = logits[:, :-1][here.to(logits.device)].float()
    return kept, batch[TARGETS][:, 1:][here].to(logits.device)
