"""Metrics of predicted class ids that any classification has."""

import numpy as np

from fedtt.errors import ShapeError
from fedtt.metrics.score import CONSTANT


def classification_metrics(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """``{"accuracy", "macro_f1", "matthews", "constant"}`` of predicted class ids.

    Accuracy and ``macro_f1`` lie in [0, 1], ``matthews`` in [-1, 1].

    ``macro_f1`` is the unweighted mean of the F1 of every class that occurs in the labels or in
    the predictions; a class with neither a hit nor a claim counts 0 (scikit-learn's
    ``f1_score(average="macro", zero_division=0)``). ``matthews`` is the correlation of Gorodkin
    2004 (for two classes Matthews 1975, the metric of CoLA); 0 where the labels or the predictions
    are all of one class. ``constant`` is 1 where all predictions are one class and the labels are
    not: the model has collapsed, whatever its accuracy. Both arrays have shape ``(n,)``, n >= 1.

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
        CONSTANT: float(np.unique(predictions).size == 1 < np.unique(labels).size),
    }
