"""Classification metrics of one client, and their mean over clients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fedtt.errors import DataError, ShapeError

MEAN = "mean"  # over clients, unweighted
POOLED = "pooled"  # over the examples of all clients together


@dataclass(frozen=True, kw_only=True)
class Score:
    """The one metric by which a task is judged where there has to be one."""

    name: str
    higher_is_better: bool


ACCURACY = Score(name="accuracy", higher_is_better=True)


def classification_metrics(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``{"accuracy", "macro_f1", "matthews"}`` of predicted class ids.

    Accuracy and ``macro_f1`` lie in [0, 1], ``matthews`` in [-1, 1].

    ``macro_f1`` is the unweighted mean of the F1 of every class that occurs in the labels or in
    the predictions; a class with neither a hit nor a claim counts 0 (scikit-learn's
    ``f1_score(average="macro", zero_division=0)``). ``matthews`` is the correlation of Gorodkin
    2004 (for two classes Matthews 1975, the metric of CoLA); 0 where the labels or the predictions
    are all of one class. Both arrays have shape ``(n,)``, n >= 1.

    Raises:
        ShapeError: the arrays are not one-dimensional, of the same length, and non-empty.
    """
    if predictions.shape != labels.shape or labels.ndim != 1 or labels.size == 0:
        raise ShapeError(
            "predictions and labels do not match",
            where="classification_metrics",
            got=f"predictions {predictions.shape}, labels {labels.shape}",
            expected="two arrays of the same shape (n,), n >= 1",
            fix="pass one predicted class id for every label, not the logits",
        )
    # Imported here: scikit-learn costs a second, and the command line answers without it.
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    # scikit-learn warns where labels and predictions are one and the same class.
    varied = np.unique(np.concatenate([labels, predictions])).size > 1
    return {
        "accuracy": float(accuracy_score(labels, predictions)),
        "macro_f1": float(f1_score(labels, predictions, average="macro", zero_division=0.0)),
        "matthews": float(matthews_corrcoef(labels, predictions)) if varied else 0.0,
    }


def mean_over_clients(
    per_client: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """``{metric: {"mean": m, client_id: value, ...}}``, the mean first.

    ``m`` is the unweighted mean over clients: every silo counts the same, whatever its size.

    Raises:
        DataError: there is no client, a client has a reserved id, or the clients do not all have
            the same metrics.
    """
    if not per_client:
        raise DataError(
            "no client was evaluated, so there is no mean",
            where="mean_over_clients",
            got="0 clients",
            expected="at least one",
            fix="evaluate at least one client",
        )
    check_client_ids(per_client)
    first_id, first = next(iter(per_client.items()))
    for client_id, metrics in per_client.items():
        if metrics.keys() != first.keys():
            raise DataError(
                "clients report different metrics",
                where=f"client {client_id!r}",
                got=sorted(metrics),
                expected=f"{sorted(first)}, as client {first_id!r}",
                fix="compute the same metrics for every client",
            )
    table: dict[str, dict[str, float]] = {}
    for name in first:
        values = {client_id: float(metrics[name]) for client_id, metrics in per_client.items()}
        table[name] = {MEAN: float(np.mean(list(values.values()))), **values}
    return table


def check_client_ids(client_ids: Iterable[str]) -> None:
    """Raise :class:`DataError` for an id that stands for something else in metric tables."""
    for client_id in client_ids:
        if client_id in (MEAN, POOLED):
            raise DataError(
                "a client has a reserved id",
                where=f"client {client_id!r}",
                expected=f"any name but {MEAN!r} and {POOLED!r}, which head columns of the result",
                fix="rename the client",
            )
