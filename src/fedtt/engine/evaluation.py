"""What one model makes of one client's examples."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import softmax

from fedtt.data import TokenizedTexts, collate, evaluation_batches
from fedtt.errors import DivergenceError
from fedtt.tasks import Outcomes, Task
from fedtt.tasks.task import logits_of

BatchHook = Callable[[], None]


def judge(
    model: PeftModel,
    task: Task,
    data: TokenizedTexts,
    *,
    batch_size: int,
    where: str,
    before_batch: BatchHook | None = None,
) -> Outcomes:
    """The task's outcomes of every example, in the data's order, without dropout.

    The model's mode is left on eval. ``before_batch`` may raise to stop early. Raises
    :class:`DivergenceError` naming ``where`` for an outcome that is not finite.
    """
    found: dict[str, np.ndarray] = {}
    for indices in _batches(model, data, batch_size=batch_size, before_batch=before_batch):
        with torch.inference_mode():
            outcomes = task.judge(model, data, indices)
        for name, values in outcomes.items():
            _check_finite(values, where=where)
            empty = np.zeros((len(data), *values.shape[1:]), dtype=values.dtype)
            whole = found.setdefault(name, empty)
            whole[indices] = values
    return found


def class_probabilities(
    model: PeftModel,
    task: Task,
    data: TokenizedTexts,
    *,
    num_classes: int,
    pad_token_id: int,
    batch_size: int,
    where: str,
) -> np.ndarray:
    """Probabilities ``(examples, classes)``, rows in the data's order, of a task with classes.

    Raises :class:`DivergenceError` like :func:`judge`.
    """
    if task.class_logits is None:
        raise AssertionError("asked of a task without classes")
    probabilities = np.zeros((len(data), num_classes), dtype=np.float32)
    for indices in _batches(model, data, batch_size=batch_size, before_batch=None):
        batch = collate(data, indices, pad_token_id=pad_token_id)
        with torch.inference_mode():
            scores = task.class_logits(logits_of(model, batch), batch).float().cpu()
        _check_finite(scores.numpy(), where=where)
        probabilities[indices] = softmax(scores, dim=-1).numpy()
    return probabilities


def _batches(
    model: PeftModel, data: TokenizedTexts, *, batch_size: int, before_batch: BatchHook | None
) -> Iterator[np.ndarray]:
    """The indices of one batch after another, for a model in its evaluation mode."""
    model.eval()
    for indices in evaluation_batches(data.lengths, batch_size):
        if before_batch is not None:
            before_batch()
        yield indices


def _check_finite(values: np.ndarray, *, where: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DivergenceError(
            "the model's outputs are not finite: training diverged",
            where=where,
            got="NaN or infinity",
            expected="finite numbers",
            fix="start a new run with a lower client.learning_rate or server.learning_rate",
        )
