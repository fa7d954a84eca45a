"""Predictions of one model on the examples of many clients."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy, softmax

from fedtt.data import TokenizedTexts, collate, concatenate, evaluation_batches
from fedtt.errors import DivergenceError

BatchHook = Callable[[str], None]
# Clients are put together until they have as many batches: enough for batches of one length.
BATCHES_TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """``probabilities``: (examples, classes), rows in the data's order; ``loss``: mean nats."""

    probabilities: np.ndarray
    loss: float

    @property
    def classes(self) -> np.ndarray:
        """Most probable class of every example: (examples,)."""
        chosen: np.ndarray = self.probabilities.argmax(axis=1)
        return chosen


def predict(
    model: PeftModel,
    data: Mapping[str, TokenizedTexts],
    *,
    batch_size: int,
    pad_token_id: int,
    where: Callable[[str], str] = "measuring client {}".format,
    before_batch: BatchHook | None = None,
) -> dict[str, Predictions]:
    """Class probabilities for every example of every client, without dropout. Leaves mode on eval.

    Batches hold texts of like length, of whichever clients. ``before_batch(client_id)``, with a
    client whose examples are in the batch, may raise to stop early. Raises
    :class:`DivergenceError` with ``where(client_id)`` where outputs, or a loss, are not finite.
    """
    model.eval()
    predictions: dict[str, Predictions] = {}
    for names in _together(data, batch_size=batch_size):
        texts = concatenate([data[name] for name in names])
        ends = np.cumsum([len(data[name]) for name in names])
        probabilities = np.zeros((len(texts), model.config.num_labels), dtype=np.float32)
        losses = np.zeros(len(texts))
        for indices in evaluation_batches(texts.lengths, batch_size):
            owners = np.searchsorted(ends, indices, side="right")  # positions in names
            if before_batch is not None:
                before_batch(names[owners[0]])
            logits, loss = _forward(model, texts, indices, pad_token_id=pad_token_id)
            finite = torch.isfinite(logits).all(dim=1).numpy() & np.isfinite(loss)
            if not finite.all():
                _raise_divergence(where(names[owners[~finite][0]]))
            probabilities[indices] = softmax(logits, dim=-1).numpy()
            losses[indices] = loss
        for name, end in zip(names, ends, strict=True):
            own = slice(end - len(data[name]), end)
            mean = float(losses[own].sum()) / max(1, len(data[name]))
            predictions[name] = Predictions(probabilities=probabilities[own], loss=mean)
    return predictions


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


def _forward(
    model: PeftModel, texts: TokenizedTexts, indices: np.ndarray, *, pad_token_id: int
) -> tuple[torch.Tensor, np.ndarray]:
    """Logits and losses of these examples, on the CPU."""
    device = next(model.parameters()).device
    batch = collate(texts, indices, pad_token_id=pad_token_id)
    labels = batch.pop("labels")
    with torch.inference_mode():
        inputs = {key: tensor.to(device) for key, tensor in batch.items()}
        logits = model(**inputs).logits.float().cpu()
        loss = cross_entropy(logits, labels, reduction="none")
    return logits, loss.double().numpy()


def _raise_divergence(where: str) -> NoReturn:
    raise DivergenceError(
        "the model's outputs are not finite: training diverged",
        where=where,
        got="NaN or infinity",
        expected="finite numbers",
        fix="start a new run with a lower client.learning_rate or server.learning_rate",
    )
