"""A kind of task from outside: one file, and one row (``TASK_KINDS.register``)."""

from functools import partial

import numpy as np
from torch import Tensor, nn

from fedtt.data import TokenizedTexts, tokenize_texts
from fedtt.metrics import Score
from fedtt.task_kinds import TaskKind
from fedtt.tasks import Batch, Outcomes, Task, TaskInputs
from fedtt.tasks.language_modeling import judge_tokens, token_loss

BITS_A_TOKEN = TaskKind(
    model_class="causal",
    reads="nothing",
    built_by="tests.extending.toy_task:build",
    keys=frozenset({"max_new_tokens"}),
)
DOUBT = 0.5  # what every token is held to be uncertain by


def build(inputs: TaskInputs) -> Task:
    """Language modeling that is judged by bits a token."""
    return Task(
        model_class="causal",
        score=Score(name="bits", higher_is_better=False),
        tokenize=partial(tokenize_texts, tokenizer=inputs.tokenizer),
        loss=_loss,
        judge=partial(_judge, inputs.pad_token_id),
        metrics=_metrics,
    )


def _loss(logits: Tensor, batch: Batch, *, shift: Tensor | None = None) -> Tensor:
    return token_loss(logits * DOUBT, batch, shift=shift)


def _judge(
    pad_token_id: int, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    return judge_tokens(pad_token_id, model, data, indices)


def _metrics(outcomes: Outcomes) -> dict[str, float]:
    return {"bits": float(outcomes["nats"].sum() / outcomes["tokens"].sum() / np.log(2))}
