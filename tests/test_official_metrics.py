"""The benchmarks' metrics against slow definitions and counts by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import ConfigError, DataError, DivergenceError, ShapeError
from fedtt.metrics import METRICS, Scored, official_metrics

SCORE = st.integers(-8, 8).map(lambda n: n / 4)  # exact in binary, with ties
NUMBERS = st.lists(st.tuples(SCORE, SCORE), min_size=2, max_size=12)


def scored(pairs: list[tuple[int, int]], **more: object) -> Scored:
    """From (predicted, true) class ids of two classes."""
    predicted, labels = np.array(pairs).T
    return Scored(scores=np.eye(2)[predicted], labels=labels, **more)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20))
def test_f1_is_that_of_class_one(pairs: list[tuple[int, int]]) -> None:
    hits = sum(a == b == 1 for a, b in pairs)
    claimed, true = sum(a for a, _ in pairs), sum(b for _, b in pairs)
    expected = 2 * hits / (claimed + true) if claimed + true else 0
    found = official_metrics(["f1", "f1a", "accuracy"], scored(pairs))
    assert list(found) == ["f1", "f1a", "accuracy"]
    assert found["f1"] == found["f1a"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))


def test_macro_f1_and_matthews_of_three_classes() -> None:
    # Predicted 0 0 1 2 for labels 0 1 1 2: F1 of 0 is 2/(2+1), of 1 2/(1+2), of 2 2/(1+1).
    three = Scored(scores=np.eye(3)[[0, 0, 1, 2]], labels=np.array([0, 1, 1, 2]))
    found = official_metrics(["macro_f1", "matthews"], three)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # Gorodkin: (c s - sum p t) / sqrt((s^2 - sum p^2)(s^2 - sum t^2)), c 3 right of s 4,
    # p = (2, 1, 1), t = (1, 2, 1): (12 - 5) / sqrt(10 * 10).
    assert found["matthews"] == pytest.approx(7 / 10)


def slow_pearson(a: list[Fraction], b: list[Fraction]) -> float:
    da, db = ([x - sum(v) / len(v) for x in v] for v in (a, b))
    both = sum(x * y for x, y in zip(da, db, strict=True))
    square = sum(x * x for x in da) * sum(y * y for y in db)
    return float(both) / float(square) ** 0.5 if square else 0.0


def ranks(values: list[Fraction]) -> list[Fraction]:
    """1 + how many are below + half of how many others are equal."""
    return [
        1 + sum(w < v for w in values) + Fraction(sum(w == v for w in values) - 1, 2)
        for v in values
    ]


@given(NUMBERS)
def test_correlations(pairs: list[tuple[float, float]]) -> None:
    predicted, true = (list(map(Fraction, column)) for column in zip(*pairs, strict=True))
    data = Scored(
        scores=np.array([[float(v)] for v in predicted], dtype=np.float32),
        labels=np.zeros(len(pairs), dtype=int),
        targets=np.array([float(v) for v in true]),
    )
    found = official_metrics(["pearson", "spearman"], data)
    assert found["pearson"] == pytest.approx(slow_pearson(predicted, true), abs=1e-6)
    assert found["spearman"] == pytest.approx(slow_pearson(ranks(predicted), ranks(true)), abs=1e-6)


# Groups out of order; in b the likeliest is not the one of highest score of class 1.
GROUPED = Scored(
    scores=np.array([[0.0, 2], [5, 6], [0, 1], [0, 1.5], [1, 0], [3, 0]]),
    labels=np.array([1, 0, 0, 1, 1, 0]),
    targets=np.array([1.0, 0.25, 0.0, 1.0, 1.0, 0.5]),
    groups=["a", "b", "a", "b", "c", "c"],
)


def test_groups_by_hand() -> None:
    # Margins: a 2, 1, so the first, right; b 1, 1.5: the second, right; c -1, -3: the first, right.
    found = official_metrics(["choice_accuracy", "choice_f1", "choice_exact_match"], GROUPED)
    assert found == {"choice_accuracy": 1.0, "choice_f1": 1.0, "choice_exact_match": 1.0}
    # Predicted 1 1 1 1 0 0 for labels 1 0 0 1 1 0: no group is right in all.
    assert official_metrics(["group_exact_match"], GROUPED) == {"group_exact_match": 0.0}
    other = Scored(
        scores=-GROUPED.scores,
        labels=GROUPED.labels,
        targets=GROUPED.targets,
        groups=GROUPED.groups,
    )
    # The other of each: targets 0, 0.25, 0.5. Predicted 0 0 0 0 1 1: still none.
    assert METRICS["choice_accuracy"](other) == 0
    assert METRICS["choice_f1"](other) == pytest.approx(0.25)
    right = Scored(
        scores=np.eye(2)[[1, 0, 0, 1, 1, 1]], labels=GROUPED.labels, groups=GROUPED.groups
    )
    assert METRICS["group_exact_match"](right) == pytest.approx(2 / 3)


@given(
    rows=st.lists(
        st.tuples(SCORE, SCORE, st.integers(0, 1), st.sampled_from("xyz")), min_size=1, max_size=15
    )
)
def test_groups_against_a_loop(rows: list[tuple[float, float, int, str]]) -> None:
    chosen, whole = [], []
    for name in {group for *_, group in rows}:
        members = [row for row in rows if row[3] == name]
        chosen.append(max(members, key=lambda row: row[1] - row[0])[2])  # the first of equals
        whole.append(all((row[1] > row[0]) == row[2] for row in members))
    data = Scored(
        scores=np.array([row[:2] for row in rows]),
        labels=np.array([row[2] for row in rows]),
        groups=[row[3] for row in rows],
    )
    found = official_metrics(["choice_accuracy", "group_exact_match"], data)
    assert found["choice_accuracy"] == pytest.approx(np.mean(chosen))
    assert found["group_exact_match"] == pytest.approx(np.mean(whole))


def test_what_cannot_be_measured() -> None:
    labels = np.array([0, 1])
    two, three = (Scored(scores=np.eye(n)[:2], labels=labels, groups=["a", "a"]) for n in (2, 3))
    number = Scored(scores=np.array([0.1, 0.2]), labels=labels)
    with pytest.raises(ConfigError, match=r"no metric of this name(.|\n)*'auc'(.|\n)*choice_f1"):
        official_metrics(["accuracy", "auc"], two)
    with pytest.raises(ShapeError, match=r"not a score for each class(.|\n)*use pearson"):
        METRICS["accuracy"](number)
    with pytest.raises(ShapeError, match=r"one number for each example(.|\n)*\(2, 2\)"):
        METRICS["pearson"](two)
    with pytest.raises(ShapeError, match="cannot be ranked"):
        METRICS["choice_accuracy"](three)
    with pytest.raises(DataError, match="have no targets"):
        METRICS["choice_f1"](two)
    with pytest.raises(DataError, match="have no targets"):
        METRICS["spearman"](number)
    with pytest.raises(DataError, match="have no groups"):
        METRICS["choice_accuracy"](Scored(scores=np.eye(2), labels=labels))
    with pytest.raises(ShapeError, match=r"do not match(.|\n)*lengths \[2, 3\]"):
        Scored(scores=np.eye(2), labels=np.zeros(3))
    with pytest.raises(DivergenceError, match=r"not a finite number\n  where: example 1"):
        Scored(scores=np.array([[0.0, 1.0], [np.nan, 0.0]]), labels=labels)
