"""What a model says about every example, beside what is true: all that a metric looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedtt.errors import DataError, DivergenceError, ShapeError


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Scores and truth of n examples.

    ``scores`` are one number a class, ``(n, c)`` (logits, or log probabilities of label words), or
    the predicted number itself, ``(n,)``. ``labels`` are class ids ``(n,)``; ``targets`` ``(n,)``
    and ``groups`` are those of ``fedtt.data.LabeledTexts``, where it has them.

    Raises:
        ShapeError: the arrays are not of one length n >= 1.
        DivergenceError: a score is not finite.
    """

    scores: np.ndarray
    labels: np.ndarray
    targets: np.ndarray | None = None
    groups: Sequence[str] | None = None

    def __post_init__(self) -> None:
        columns = (self.labels, self.targets, self.groups)
        lengths = [len(self.scores), *(len(column) for column in columns if column is not None)]
        if lengths[0] == 0 or len(set(lengths)) > 1 or self.scores.ndim not in (1, 2):
            raise ShapeError(
                "scores and truth do not match",
                where="Scored",
                got=f"scores {self.scores.shape}, lengths {lengths}",
                expected="scores (n, classes) or (n,), and n labels, targets and groups; n >= 1",
                fix="pass the scores of every example, in the order of the labels",
            )
        if not np.isfinite(self.scores).all():
            raise DivergenceError(
                "a score is not a finite number",
                where=f"example {int(np.argwhere(~np.isfinite(self.scores))[0][0])}",
                expected="finite scores",
                fix="lower the learning rate; the model has diverged",
            )

    @property
    def predictions(self) -> np.ndarray:
        """The class of the highest score, int64 ``(n,)``; of equal ones the first."""
        return np.asarray(self._by_class().argmax(axis=1))

    @property
    def margins(self) -> np.ndarray:
        """Score of class 1 less that of class 0, ``(n,)``: how likely the example is right."""
        scores = self._by_class()
        if scores.shape[1] != 2:
            raise ShapeError(
                "examples of a group cannot be ranked",
                where="Scored.margins",
                got=f"{scores.shape[1]} classes",
                expected="two: wrong and right",
                fix="use a metric of single examples, such as accuracy",
            )
        return np.asarray(scores[:, 1] - scores[:, 0])

    @property
    def numbers(self) -> np.ndarray:
        """The predicted numbers of a regression, ``(n,)``."""
        if self.scores.ndim == 2 and self.scores.shape[1] != 1:
            raise ShapeError(
                "a regression predicts one number for each example",
                where="Scored.numbers",
                got=f"scores {self.scores.shape}",
                expected="(n,) or (n, 1)",
                fix="give the model one output, or use a metric of classes",
            )
        return self.scores.reshape(-1)

    def true_numbers(self) -> np.ndarray:
        """``targets``. Raises :class:`DataError` where the data has none."""
        if self.targets is None:
            raise DataError(
                "the examples have no targets",
                where="Scored",
                expected="a number for each example",
                fix="use a metric of classes, such as accuracy",
            )
        return np.asarray(self.targets, dtype=np.float64)

    def positions_by_group(self) -> list[np.ndarray]:
        """Positions of every group's examples, in their order; groups by first appearance."""
        if self.groups is None:
            raise DataError(
                "the examples have no groups",
                where="Scored",
                expected="the group of each example",
                fix="use a metric of single examples, such as accuracy",
            )
        members: dict[str, list[int]] = {}
        for position, group in enumerate(self.groups):
            members.setdefault(group, []).append(position)
        return [np.array(positions) for positions in members.values()]

    def _by_class(self) -> np.ndarray:
        if self.scores.ndim != 2 or self.scores.shape[1] < 2:
            raise ShapeError(
                "there is not a score for each class",
                where="Scored",
                got=f"scores {self.scores.shape}",
                expected="(n, classes), two classes or more",
                fix="pass the scores of all classes, or use pearson or spearman",
            )
        return self.scores
