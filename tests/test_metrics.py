import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtt.errors import DataError, ShapeError
from fedtt.metrics import classification_metrics, mean_over_clients

CLASSES = st.integers(0, 3)


def slow_macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    scores = []
    for label in sorted({*predictions.tolist(), *labels.tolist()}):
        both = int(np.sum((predictions == label) & (labels == label)))
        either = int(np.sum(predictions == label) + np.sum(labels == label))
        scores.append(2 * both / either)
    return sum(scores) / len(scores)


def slow_matthews(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The correlation of the one-hot matrices, summed over classes (Gorodkin 2004)."""
    one_hot = [np.eye(4)[ids] - np.eye(4)[ids].mean(axis=0) for ids in (predictions, labels)]
    both, first, second = (np.sum(a * b) for a, b in [one_hot, one_hot[:1] * 2, one_hot[1:] * 2])
    return float(both / np.sqrt(first * second)) if first * second > 1e-12 else 0.0


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=30))
def test_metrics_agree_with_their_definitions(pairs: list[tuple[int, int]]) -> None:
    predictions, labels = np.array(pairs).T
    metrics = classification_metrics(predictions, labels)
    assert metrics["accuracy"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert metrics["macro_f1"] == pytest.approx(slow_macro_f1(predictions, labels))
    assert metrics["matthews"] == pytest.approx(slow_matthews(predictions, labels))
    assert all(type(value) is float for value in metrics.values())


def test_matthews_of_four_counts() -> None:
    # 3 hits and 1 miss of class 1, 2 hits and 1 miss of class 0:
    # (3 * 2 - 1 * 1) / sqrt((3 + 1) (3 + 1) (2 + 1) (2 + 1)) = 5 / 12
    labels, predictions = np.array([1, 1, 1, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 0, 0, 1])
    assert classification_metrics(predictions, labels)["matthews"] == pytest.approx(5 / 12)
    assert classification_metrics(1 - labels, labels)["matthews"] == pytest.approx(-1)
    assert classification_metrics(np.array([1, 1]), np.array([1, 1]))["matthews"] == 0


def test_macro_f1_weighs_a_rare_class_like_a_common_one() -> None:
    # class 0: 2 * 3 / (4 + 3) = 6/7; class 1: 0 hits, 0; accuracy 3 of 4
    metrics = classification_metrics(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]))
    assert metrics["accuracy"] == 0.75
    assert metrics["macro_f1"] == pytest.approx(3 / 7)
    assert metrics["matthews"] == 0.0


@pytest.mark.parametrize(
    ("predictions", "labels", "constant"),
    [
        ([1, 1, 1], [0, 1, 2], 1.0),
        ([1, 1, 1], [1, 1, 1], 0.0),  # so are the labels: right, not collapsed
        ([0, 1, 1], [1, 1, 1], 0.0),
        ([0, 1, 1], [0, 0, 1], 0.0),
    ],
)
def test_a_constant_answer_is_noted_where_the_truth_is_not_constant(
    predictions: list[int], labels: list[int], constant: float
) -> None:
    metrics = classification_metrics(np.array(predictions), np.array(labels))
    assert metrics["constant"] == constant


@pytest.mark.parametrize(
    ("predictions", "labels"), [((3,), (2,)), ((3, 2), (3,)), ((0,), (0,)), ((2, 2), (2, 2))]
)
def test_shapes_that_do_not_match_are_refused(
    predictions: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    with pytest.raises(
        ShapeError, match=r"predictions and labels do not match(.|\n)*not the logits"
    ):
        classification_metrics(np.zeros(predictions, int), np.zeros(labels, int))


NAMES = st.text().filter(lambda name: name not in {"mean", "pooled"})


@given(st.dictionaries(NAMES, st.floats(0, 1), min_size=1, max_size=9))
def test_mean_over_clients_counts_every_client_once(values: dict[str, float]) -> None:
    table = mean_over_clients({key: {"accuracy": v, "loss": -v} for key, v in values.items()})
    assert {k: v for k, v in table["accuracy"].items() if k != "mean"} == values
    assert next(iter(table["accuracy"])) == "mean"
    assert table["accuracy"]["mean"] == pytest.approx(sum(values.values()) / len(values))
    assert table["loss"]["mean"] == pytest.approx(-table["accuracy"]["mean"])
    assert type(table["loss"]["mean"]) is float


def test_clients_that_cannot_be_averaged_are_refused() -> None:
    with pytest.raises(DataError, match=r"no client was evaluated"):
        mean_over_clients({})
    with pytest.raises(DataError, match=r"reserved id\n  where: client 'mean'"):
        mean_over_clients({"mean": {"accuracy": 1.0}})
    with pytest.raises(
        DataError, match=r"where: client 'b'\n  got: \['f1'\]\n  expected: \['accuracy'\], as cl"
    ):
        mean_over_clients({"a": {"accuracy": 1.0}, "b": {"f1": 1.0}})
