"""The metrics by which GLUE and SuperGLUE judge their tasks, by name.

Definitions: Wang et al. 2019 (GLUE, arXiv 1804.07461; SuperGLUE, arXiv 1905.00537); Khashabi et al.
2018 (MultiRC); Zhang et al. 2018 (ReCoRD, arXiv 1810.12885). All lie in [0, 1], but for the
correlations in [-1, 1]. Imports of scikit-learn and SciPy are inside: they cost a second.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from fedtt.errors import ConfigError
from fedtt.metrics.class_metrics import classification_metrics
from fedtt.metrics.scored import Scored

Metric = Callable[[Scored], float]


def accuracy(scored: Scored) -> float:
    """Share of examples whose class is predicted."""
    return float(np.mean(scored.predictions == scored.labels))


def positive_f1(scored: Scored) -> float:
    """F1 of class 1: ``2 hits / (predicted + true)``; 0 where there is neither.

    Of MultiRC this is F1a: over the answers to all questions together.
    """
    from sklearn.metrics import f1_score

    predicted, true = scored.predictions == 1, scored.labels == 1
    return float(f1_score(true, predicted, zero_division=0.0))


def macro_f1(scored: Scored) -> float:
    """The unweighted mean of the F1 of every class; see :func:`classification_metrics`."""
    return classification_metrics(scored.predictions, scored.labels)["macro_f1"]


def matthews(scored: Scored) -> float:
    """Matthews correlation; see :func:`classification_metrics`."""
    return classification_metrics(scored.predictions, scored.labels)["matthews"]


def pearson(scored: Scored) -> float:
    """Linear correlation of predicted and true numbers; 0 where either are all the same."""
    from scipy.stats import pearsonr

    return _correlate(scored, lambda a, b: float(pearsonr(a, b).statistic))


def spearman(scored: Scored) -> float:
    """Correlation of the ranks, ties sharing theirs; 0 where either are all the same."""
    from scipy.stats import spearmanr

    return _correlate(scored, lambda a, b: float(spearmanr(a, b).statistic))


def choice_accuracy(scored: Scored) -> float:
    """Share of groups whose likeliest example is right (COPA; exact match of ReCoRD)."""
    return float(np.mean([scored.labels[choice] == 1 for choice in _choices(scored)]))


def choice_f1(scored: Scored) -> float:
    """Mean over groups of the target of the likeliest example (F1 of ReCoRD)."""
    targets = scored.true_numbers()
    return float(np.mean([targets[choice] for choice in _choices(scored)]))


def group_exact_match(scored: Scored) -> float:
    """Share of groups all of whose examples are predicted right (exact match of MultiRC)."""
    right = scored.predictions == scored.labels
    return float(np.mean([right[members].all() for members in scored.positions_by_group()]))


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "f1": positive_f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "choice_accuracy": choice_accuracy,
    "f1a": positive_f1,
    "group_exact_match": group_exact_match,
    "choice_f1": choice_f1,
    "choice_exact_match": choice_accuracy,
}


def official_metrics(names: Iterable[str], scored: Scored) -> dict[str, float]:
    """``{name: value}`` in the order of ``names``.

    Raises:
        ConfigError: a name is not in ``METRICS``.
        ShapeError: the scores are not of the kind that a metric needs.
        DataError: a metric needs groups or targets that there are none of.
    """
    wanted = list(names)
    unknown = [name for name in wanted if name not in METRICS]
    if unknown:
        raise ConfigError(
            "there is no metric of this name",
            got=repr(unknown[0]),
            expected=f"one of {', '.join(METRICS)}",
        )
    return {name: METRICS[name](scored) for name in wanted}


def _correlate(scored: Scored, correlation: Callable[[np.ndarray, np.ndarray], float]) -> float:
    predicted, true = scored.numbers.astype(np.float64), scored.true_numbers()
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return 0.0
    return correlation(predicted, true)


def _choices(scored: Scored) -> list[int]:
    """Of every group the position of its likeliest example; of equal ones the first."""
    margins = scored.margins
    return [int(members[margins[members].argmax()]) for members in scored.positions_by_group()]
