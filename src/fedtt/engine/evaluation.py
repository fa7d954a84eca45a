"""What one model makes of the examples of many clients."""

from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import softmax

from fedtt.data import TokenizedTexts, collate, concatenate, evaluation_batches
from fedtt.errors import DivergenceError
from fedtt.tasks import Outcomes, Task
from fedtt.tasks.task import logits_of

BatchHook = Callable[[str], None]
# Clients are put together until they have as many batches: enough for batches of one length.
BATCHES_TOGETHER = 64


def judge(
    model: PeftModel,
    task: Task,
    data: Mapping[str, TokenizedTexts],
    *,
    batch_size: int,
    where: Callable[[str], str] = "measuring client {}".format,
    before_batch: BatchHook | None = None,
) -> dict[str, Outcomes]:
    """The task's outcomes of every example of every client, in its order, without dropout.

    Batches hold texts of like length, of whichever clients. The model's mode is left on eval.
    ``before_batch(client_id)``, with a client whose examples are in the batch, may raise to stop
    early. Raises :class:`DivergenceError` with ``where(client_id)`` for what is not finite.
    """
    model.eval()
    judged: dict[str, Outcomes] = {}
    for names in _together(data, batch_size=batch_size):
        texts = concatenate([data[name] for name in names])
        ends = np.cumsum([len(data[name]) for name in names])
        found: dict[str, np.ndarray] = {}
        for indices in evaluation_batches(texts.lengths, batch_size):
            owners = np.searchsorted(ends, indices, side="right")  # positions in names
            if before_batch is not None:
                before_batch(names[owners[0]])
            with torch.inference_mode():
                outcomes = task.judge(model, texts, indices)
            for name, values in outcomes.items():
                finite = _finite_rows(values)
                if not finite.all():
                    _raise_divergence(where(names[owners[~finite][0]]))
                empty = np.zeros((len(texts), *values.shape[1:]), dtype=values.dtype)
                found.setdefault(name, empty)[indices] = values
        for name, end in zip(names, ends, strict=True):
            own = slice(end - len(data[name]), end)
            judged[name] = {key: values[own] for key, values in found.items()}
    return judged


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
    model.eval()
    probabilities = np.zeros((len(data), num_classes), dtype=np.float32)
    for indices in evaluation_batches(data.lengths, batch_size):
        batch = collate(data, indices, pad_token_id=pad_token_id)
        with torch.inference_mode():
            scores = task.class_logits(logits_of(model, batch), batch).float().cpu()
        if not _finite_rows(scores.numpy()).all():
            _raise_divergence(where)
        probabilities[indices] = softmax(scores, dim=-1).numpy()
    return probabilities


def _together(data: Mapping[str, TokenizedTexts], *, batch_size: int) -> Iterator[list[str]]:
    """The clients, in groups whose examples are looked at together."""
    names: list[str] = []
    count = 0
    for name, texts in data.items():
        names.append(name)
        count += len(texts)
        if count >= BATCHES_TOGETHER * batch_size:
            yield names
            names, count = [], 0
    if names:
        yield names


def _finite_rows(values: np.ndarray) -> np.ndarray:
    """Whether every row is finite, ``(n,)``; what is no number is."""
    if values.dtype.kind != "f":
        return np.ones(len(values), dtype=bool)
    rows: np.ndarray = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return rows


def _raise_divergence(where: str) -> NoReturn:
    raise DivergenceError(
        "the model's outputs are not finite: training diverged",
        where=where,
        got="NaN or infinity",
        expected="finite numbers",
        fix="start a new run with a lower client.learning_rate or server.learning_rate",
    )
