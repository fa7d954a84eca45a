"""Causal language modeling: every token from those before it."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedtt.data import TokenizedTexts, collate, tokenize_texts
from fedtt.data.tokens import IGNORED, Tokenizer
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import AT, NO_TOKEN, TARGETS, needed_logits
from fedtt.metrics import Score
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.task import Outcomes, Task

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
    kept, targets, _ = _at_targets(logits, batch)
    return cross_entropy(kept, targets)


def before_targets(batch: Batch) -> Tensor:
    """The positions of the tokens that a target follows, ``(b, k)``: those whose logits count."""
    here = _is_target(batch)
    counts = here.sum(dim=1, keepdim=True)
    most = int(counts.max())
    first = here.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return first.masked_fill(torch.arange(most, device=first.device) >= counts, NO_TOKEN)


def judge_tokens(
    pad_token_id: int, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    """For every example the nats of its target tokens, and how many these are."""
    batch = collate(data, indices, pad_token_id=pad_token_id)
    logits, seen = needed_logits(model, batch, positions=before_targets)
    kept, targets, here = _at_targets(logits.detach(), seen)
    nats = cross_entropy(kept, targets, reduction="none").double().cpu()
    rows = here.nonzero()[:, 0]
    total = torch.zeros(len(indices), dtype=torch.float64).index_add_(0, rows, nats)
    return {"nats": total.numpy(), "tokens": rows.bincount(minlength=len(indices)).numpy()}


def token_metrics(outcomes: Outcomes) -> dict[str, float]:
    """``{"perplexity", "loss"}``: ``exp`` of the mean nats a token, and these."""
    loss = float(outcomes["nats"].sum() / max(1, outcomes["tokens"].sum()))
    return {"perplexity": float(np.exp(min(loss, 700.0))), "loss": loss}  # e^709 is infinite


def _is_target(batch: Batch) -> Tensor:
    return batch[TARGETS][:, 1:] != IGNORED


def _at_targets(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(targets, vocabulary)`` in float32 where a target follows, these tokens, and where.

    The logits are those of all tokens or, where the batch has ``AT``, at those positions.
    """
    following = batch[TARGETS][:, 1:]
    if AT in batch:
        at = batch[AT]
        here = at != NO_TOKEN
        following = following.gather(1, at.clamp(min=0))
    else:
        logits, here = logits[:, :-1], _is_target(batch)
    kept = logits[here.to(logits.device)].float()
    return kept, following[here].to(logits.device), here
