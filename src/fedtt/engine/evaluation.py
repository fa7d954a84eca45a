"""What one model makes of the examples of many clients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import softmax

from fedtt.data import TokenizedTexts, collate, concatenate, evaluation_batches
from fedtt.engine.turn import EVERYTHING, Turn
from fedtt.errors import DivergenceError
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import needed_logits
from fedtt.tasks import Outcomes, Task, join_outcomes
from fedtt.tasks.task import class_scores

BatchHook = Callable[[str], None]
# Clients are put together until they have as many batches: enough for batches of one length.
BATCHES_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The outcomes of some examples: row i is example ``rows[i]`` of the clients put end to end."""

    rows: np.ndarray
    outcomes: Outcomes


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
    judged = judge_share(
        model, task, data, batch_size=batch_size, where=where, before_batch=before_batch
    )
    return join_judged([judged], sizes={name: len(texts) for name, texts in data.items()})


def judge_share(
    model: PeftModel,
    task: Task,
    data: Mapping[str, TokenizedTexts],
    *,
    batch_size: int,
    turn: Turn = EVERYTHING,
    where: Callable[[str], str] = "measuring client {}".format,
    before_batch: BatchHook | None = None,
) -> Judged:
    """As :func:`judge`, the batches of ``turn``."""
    model.eval()
    rows, found = [], []
    for group, indices in turn.of(_batches(data, batch_size)):
        owners = np.searchsorted(group.ends, indices, side="right")  # positions in names
        if before_batch is not None:
            before_batch(group.names[owners[0]])
        with torch.inference_mode():
            outcomes = task.judge(model, group.texts, indices)
        for values in outcomes.values():
            finite = _finite_rows(values)
            if not finite.all():
                _raise_divergence(where(group.names[owners[~finite][0]]))
        rows.append(group.start + indices)
        found.append(outcomes)
    return Judged(
        rows=np.concatenate([np.zeros(0, dtype=np.int64), *rows]),
        outcomes=join_outcomes(found) if found else {},
    )


def join_judged(shares: Sequence[Judged], *, sizes: Mapping[str, int]) -> dict[str, Outcomes]:
    """Every client's outcomes, in the order of its examples, from shares that hold them all."""
    known = [share for share in shares if len(share.rows)]
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(share.rows for share in known)])
    order = np.argsort(rows)
    outcomes = join_outcomes([share.outcomes for share in known]) if known else {}
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())).tolist(), strict=True))
    return {
        name: {key: values[order[end - sizes[name] : end]] for key, values in outcomes.items()}
        for name, end in ends.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Clients whose examples are looked at together; ``start`` examples came before theirs."""

    names: list[str]
    ends: np.ndarray  # where each one's examples end among those of the group
    texts: TokenizedTexts
    start: int


def _batches(
    data: Mapping[str, TokenizedTexts], batch_size: int
) -> Iterator[tuple[_Group, np.ndarray]]:
    """Every batch: its group, and the positions of its examples there."""
    start = 0
    for own in _together(data, batch_size=batch_size):
        group = _Group(
            names=list(own),
            ends=np.cumsum([len(texts) for texts in own.values()]),
            texts=concatenate(list(own.values())),
            start=start,
        )
        for indices in evaluation_batches(group.texts.lengths, batch_size):
            yield group, indices
        start += len(group.texts)


def class_probabilities(
    model: PeftModel,
    task: Task,
    data: TokenizedTexts,
    *,
    pad_token_id: int,
    batch_size: int,
    where: str,
) -> np.ndarray:
    """Probabilities ``(examples, classes)``, rows in the data's order, of a task with classes.

    Raises :class:`DivergenceError` like :func:`judge`.
    """
    class_logits = task.class_logits
    if class_logits is None:
        raise AssertionError("asked of a task without classes")

    def scores(batch: Batch) -> Tensor:
        return class_scores(class_logits, task.positions, model, batch)

    found = _of_every_example(
        scores, model, data, pad_token_id=pad_token_id, batch_size=batch_size, where=where
    )
    probabilities: np.ndarray = softmax(torch.from_numpy(found), dim=-1).numpy()
    return probabilities


def predicted_numbers(
    model: PeftModel,
    task: Task,
    data: TokenizedTexts,
    *,
    pad_token_id: int,
    batch_size: int,
    where: str,
) -> np.ndarray:
    """The numbers ``(examples,)``, in the data's order, of a task that says a number.

    Raises :class:`DivergenceError` like :func:`judge`.
    """
    numbers = task.numbers
    if numbers is None:
        raise AssertionError("asked of a task that says no number")

    def said(batch: Batch) -> Tensor:
        logits, _ = needed_logits(model, batch, positions=task.positions)
        return numbers(logits).cpu()

    return _of_every_example(
        said, model, data, pad_token_id=pad_token_id, batch_size=batch_size, where=where
    )


def _of_every_example(
    answer: Callable[[Batch], Tensor],
    model: PeftModel,
    data: TokenizedTexts,
    *,
    pad_token_id: int,
    batch_size: int,
    where: str,
) -> np.ndarray:
    """What ``answer`` says of each batch, ``(b, ...)`` on the CPU, in the data's order.

    Raises :class:`DivergenceError` for what is not finite.
    """
    model.eval()
    rows, found = [np.zeros(0, dtype=np.int64)], []
    for indices in evaluation_batches(data.lengths, batch_size):
        batch = collate(data, indices, pad_token_id=pad_token_id)
        with torch.inference_mode():
            values = answer(batch).numpy()
        if not _finite_rows(values).all():
            _raise_divergence(where)
        rows.append(indices)
        found.append(values)
    order = np.argsort(np.concatenate(rows))
    return np.concatenate(found)[order] if found else np.zeros(0, dtype=np.float32)


def _together(
    data: Mapping[str, TokenizedTexts], *, batch_size: int
) -> Iterator[dict[str, TokenizedTexts]]:
    """The clients, in groups whose examples are looked at together."""
    group: dict[str, TokenizedTexts] = {}
    count = 0
    for name, texts in data.items():
        group[name] = texts
        count += len(texts)
        if count >= BATCHES_TOGETHER * batch_size:
            yield group
            group, count = {}, 0
    if group:
        yield group


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
