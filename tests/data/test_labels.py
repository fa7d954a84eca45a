import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.data.labels import number_labels
from fedtt.errors import DataError


def places(values: list[object]) -> list[str]:
    return [f"file.csv:{row + 2}" for row in range(len(values))]


def numbered(values: list[object], **options: object) -> tuple[tuple[int, ...], tuple[str, ...]]:
    ids = number_labels(values, places=places(values), **options)  # type: ignore[arg-type]
    return ids.labels, ids.label_names


NAMES = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda s: s == s.strip())


@given(st.lists(st.integers(), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_integers_are_numbered_in_ascending_order(values: list[int]) -> None:
    labels, names = numbered(list(values))
    assert [int(names[label]) for label in labels] == values
    assert list(map(int, names)) == sorted(set(values))
    # CSV knows no integers: their decimal form gives the same classes.
    assert numbered([str(value) for value in values], textual=True) == (labels, names)


@given(st.lists(NAMES, min_size=2).filter(lambda v: len(set(v)) > 1))
def test_names_are_numbered_in_sorted_order(values: list[str]) -> None:
    labels, names = numbered(list(values))
    assert [names[label] for label in labels] == values
    assert list(names) == sorted(set(values))


def test_integers_sort_as_numbers() -> None:
    assert numbered([10, 9, -1]) == ((2, 1, 0), ("-1", "9", "10"))
    assert numbered([" 10", "+9", "-1"], textual=True) == ((2, 1, 0), ("-1", "9", "10"))


def test_names_that_look_like_integers_stay_names_where_types_are_known() -> None:
    assert numbered(["10", "9"]) == ((0, 1), ("10", "9"))


def test_given_names_order_the_classes() -> None:
    assert numbered(["good", "bad", "good"], label_names=["good", "bad", "meh"]) == (
        (0, 1, 0),
        ("good", "bad", "meh"),
    )
    assert numbered([5, 1, 3], label_names=["bad", "meh", "good"])[0] == (2, 0, 1)
    # Two of three classes occur: the integers are positions.
    assert numbered([2, 0], label_names=["bad", "meh", "good"])[0] == (2, 0)


def test_labels_outside_the_given_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"not in label_names\n  where: file.csv:3\n  got: 'meh'"):
        numbered(["good", "meh", "bad"], label_names=["good", "bad"])
    with pytest.raises(DataError, match=r"where: file.csv:2\n  got: 5\n  expected: one of 0, 1, 2"):
        numbered([5, 1], label_names=["bad", "meh", "good"])
    with pytest.raises(DataError, match=r"label_names does not name the classes"):
        numbered([0, 1], label_names=["same", "same"])
    with pytest.raises(DataError, match=r"label_names does not name the classes"):
        numbered([0, 1], label_names=["lonely"])


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (None, "missing"),
        (True, "a boolean"),
        (1.5, "not a whole number"),
        (1.0, "not a whole number"),
        (float("nan"), "not a whole number"),
        ("", "empty"),
        (" ", "empty"),
        ("good ", "surrounded by white space"),
        ([1], "neither an integer nor a string"),
        (b"good", "neither an integer nor a string"),
    ],
)
def test_a_label_that_is_neither_integer_nor_name_is_refused(bad: object, kind: str) -> None:
    with pytest.raises(DataError, match=rf"a label is {kind}\n  where: file.csv:3\n  got: "):
        numbered(["good", bad, "bad"])


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("", "missing"),
        ("  ", "missing"),
        ("true", "a boolean"),
        ("False", "a boolean"),
        ("0.5", "not a whole number"),
        ("1.", "not a whole number"),
        (".5", "not a whole number"),
        ("-1e3", "not a whole number"),
        ("NaN", "not a whole number"),
        ("good ", "surrounded by white space"),
    ],
)
def test_a_cell_means_what_it_plainly_says(cell: str, kind: str) -> None:
    with pytest.raises(DataError, match=rf"a label is {kind}\n  where: file.csv:3\n  got: "):
        numbered(["1", cell, "0"], textual=True)


def test_mixed_types_are_refused() -> None:
    expected = r"mix integers and names\n  where: file.csv:4\n  got: 'good', after 0 at file.csv:2"
    with pytest.raises(DataError, match=expected):
        numbered([0, 1, "good"])
    with pytest.raises(DataError, match=expected):
        numbered(["0", "1", "good"], textual=True)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"one class only\n.*\n  got: 3 examples, all labeled 7"):
        numbered([7, 7, 7])


@pytest.mark.parametrize("label", ["7" * 5000, "-" + "7" * 5000, "0." + "7" * 5000, "word " * 300])
def test_what_is_too_long_for_a_label_is_refused(label: str) -> None:
    """A number of 5,000 digits is more than int() reads."""
    with pytest.raises(DataError) as caught:
        numbered(["1", label.strip()], textual=True)
    assert "a label is longer than 1,000 characters\n  where: file.csv:3" in str(caught.value)
    assert len(str(caught.value)) < 400
