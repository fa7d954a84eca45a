"""Predictions and metrics of one model on one client's examples."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy, softmax

from fedtt.data import TokenizedTexts, collate, evaluation_batches
from fedtt.errors import DivergenceError

BatchHook = Callable[[], None]


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
    data: TokenizedTexts,
    *,
    batch_size: int,
    pad_token_id: int,
    where: str,
    before_batch: BatchHook | None = None,
) -> Predictions:
    """Class probabilities for every example of ``data``, without dropout. Mode is left on eval.

    ``before_batch`` may raise to stop early. Raises :class:`DivergenceError` naming ``where`` for
    outputs, or a loss, that are not finite.
    """
    model.eval()
    device = next(model.parameters()).device
    probabilities = np.zeros((len(data), model.config.num_labels), dtype=np.float32)
    total_loss = 0.0
    for indices in evaluation_batches(data.lengths, batch_size):
        if before_batch is not None:
            before_batch()
        batch = collate(data, indices, pad_token_id=pad_token_id)
        labels = batch.pop("labels")
        with torch.inference_mode():
            inputs = {key: tensor.to(device) for key, tensor in batch.items()}
            logits = model(**inputs).logits.float().cpu()
        total_loss += float(cross_entropy(logits, labels, reduction="sum"))
        if not (math.isfinite(total_loss) and bool(torch.isfinite(logits).all())):
            raise DivergenceError(
                "the model's outputs are not finite: training diverged",
                where=where,
                got="NaN or infinity",
                expected="finite numbers",
                fix="start a new run with a lower client.learning_rate or server.learning_rate",
            )
        probabilities[indices] = softmax(logits, dim=-1).numpy()
    return Predictions(probabilities=probabilities, loss=total_loss / max(1, len(data)))
