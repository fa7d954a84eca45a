import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.data import GivenClasses
from fedtt.data.label_meaning import look_of, read_label
from fedtt.data.labels import ClassIds, number_alike, number_by_position, number_labels
from fedtt.errors import DataError


def places(values: list[object]) -> list[str]:
    return [f"file.csv:{row + 2}" for row in range(len(values))]


def ids_of(
    values: list[object],
    label_names: list[str] | None = None,
    label_values: list[str | int] | None = None,
) -> ClassIds:
    classes = None
    if label_names is not None:
        values_of = None if label_values is None else tuple(label_values)
        classes = GivenClasses(names=tuple(label_names), values=values_of)
    return number_labels(values, places=places(values), given=classes)


def numbered(
    values: list[object],
    label_names: list[str] | None = None,
    label_values: list[str | int] | None = None,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    ids = ids_of(values, label_names, label_values)
    return ids.labels, ids.label_names


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda s: read_label(s).fault is None and not (read_label(s).is_number or read_label(s).is_code)
)


@given(st.lists(st.integers(-(2**52), 2**52), min_size=2).filter(lambda v: len(set(v)) > 1))
def test_whole_numbers_are_the_same_whatever_the_format(values: list[int]) -> None:
    labels, names = numbered(list(values))
    assert [int(names[label]) for label in labels] == values
    assert list(map(int, names)) == sorted(set(values))
    for write in (str, float, lambda value: f" {value:+d} ", lambda value: f"{value}.0"):
        assert numbered([write(value) for value in values]) == (labels, names)


@given(
    st.lists(NAMES, min_size=2).filter(lambda v: len({look_of(s) for s in v}) == len(set(v)) > 1)
)
def test_names_are_numbered_in_sorted_order(values: list[str]) -> None:
    labels, names = numbered(list(values))
    assert [names[label] for label in labels] == [read_label(value).text for value in values]
    assert list(names) == sorted(set(names))


def test_integers_sort_as_numbers() -> None:
    assert numbered([10, 9, -1]) == ((2, 1, 0), ("-1", "9", "10"))
    assert numbered([" 10", "+9", "-1"]) == ((2, 1, 0), ("-1", "9", "10"))
    assert numbered(["10", 9, "-0", 0.0]) == ((2, 1, 0, 0), ("0", "9", "10"))


def test_codes_stay_as_they_are_written() -> None:
    assert numbered(["0042", "0101", "0042"]) == ((0, 1, 0), ("0042", "0101"))
    assert numbered(["0042", "1234", 99]) == ((0, 1, 2), ("0042", "1234", "99"))
    assert numbered(["0042", "A12"]) == ((0, 1), ("0042", "A12"))


def test_given_names_order_the_classes() -> None:
    assert numbered(["good", "bad", "good"], ["good", "bad", "meh"]) == (
        (0, 1, 0),
        ("good", "bad", "meh"),
    )
    assert numbered([5, 1, 3], ["bad", "meh", "good"])[0] == (2, 0, 1)
    assert ids_of([5, 1, 3], ["bad", "meh", "good"]).cells == (1, 3, 5)
    assert ids_of(["good", "bad"], ["bad", "good"]).cells is None


@pytest.mark.parametrize("write", [int, str, float])
@pytest.mark.parametrize(
    ("names", "values", "labels"),
    [
        (["1", "2", "3"], [1, 2, 1], (0, 1, 0)),
        (["1.0", "2", "+3"], [2, 3], (1, 2)),
        (["-1", "0", "1"], [0, 1], (1, 2)),
    ],
)
def test_numbers_that_are_names_are_never_counted(
    write: type, names: list[str], values: list[int], labels: tuple[int, ...]
) -> None:
    assert numbered([write(value) for value in values], names) == (labels, tuple(names))


def test_codes_that_are_names_are_never_counted() -> None:
    assert numbered(["01", "02"], ["01", "02", "03"])[0] == (0, 1)
    with pytest.raises(DataError, match=r"not in label_names\n.*:2\n  got: 1(.|\n)*mean '01'\?"):
        numbered([1, 2, 3], ["01", "02", "03"])
    with pytest.raises(DataError, match=r"not in label_names\n  where: file.csv:2\n  got: 0"):
        numbered([0, 1, 2], ["1", "2", "3"])


@pytest.mark.parametrize("labels", [[1, 2], ["2", "0"], [0, 1, 2, 3]])
def test_integers_that_leave_out_a_class_are_not_placed(labels: list[object]) -> None:
    """1 and 2 may be the first two of three counted from 1, or the last two counted from 0."""
    with pytest.raises(DataError, match="stands for cannot be told") as caught:
        numbered(labels, ["bad", "meh", "good"])
    assert "data.label_values (such as [0, 1, 2], or [1, 2, 3])" in str(caught.value)


def test_what_stands_for_each_class_can_be_said() -> None:
    names = ["bad", "meh", "good"]
    assert ids_of([1, 2], names, [1, 2, 3]).labels == (0, 1)
    assert ids_of([1, 2], names, [1, 2, 3]).cells is None  # nothing was counted
    assert numbered(["0", "1", 1.0], names, [-1, 0, 1])[0] == (1, 2, 2)
    assert numbered(["B", "0042"], names, ["B", "0042", 42])[0] == (0, 1)
    assert numbered(["N/A", "yes"], ["unknown", "known"], ["N/A", "yes"])[0] == (0, 1)
    with pytest.raises(DataError, match=r"not in label_values\n  where: file.csv:3\n  got: 'bad'"):
        numbered([1, "bad"], names, [1, 2, 3])
    with pytest.raises(DataError, match=r"label_values does not fit(.|\n)*expected: 3 different"):
        numbered([1, 2], names, [1, 2, "2"])


def test_labels_outside_the_given_names_are_refused() -> None:
    with pytest.raises(DataError, match=r"not in label_names\n  where: file.csv:3\n  got: 'meh'"):
        numbered(["good", "meh", "bad"], ["good", "bad"])
    with pytest.raises(DataError, match=r"not in label_names\n  where: file.csv:2\n  got: 'x'"):
        numbered(["x", 1], ["good", "bad"])
    with pytest.raises(DataError, match=r"got: 'Good'(.|\n)*fix: did you mean 'good'\?"):
        numbered(["Good", "bad"], ["good", "bad"])
    for names in (["same", "same"], ["lonely"], ["ä", "a\u0308"], ["x", "x\u200b"], ["", "x"]):
        with pytest.raises(DataError, match=r"label_names does not name the classes"):
            numbered([0, 1], names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pos", "pos"),
        ("pos\u200b", "pos"),
        ("\ufeffpos", "pos"),
        ("very good", "very  good"),
        ("very\u00a0good", "very good"),
        ("\uff41", "a"),  # full width
        ("STRASSE", "straße"),
        ("❤\ufe0f", "❤"),
        ("0042", "42"),
    ],
)
def test_labels_that_look_the_same_are_refused(one: str, other: str) -> None:
    with pytest.raises(DataError, match=r"two labels look the same\n  where: file.csv:4") as caught:
        numbered([one, "else" if one != "0042" else "7", other])
    assert f"{other!r}, and {one!r} at file.csv:2" in str(caught.value)


def test_classes_that_differ_by_case_only_can_be_named() -> None:
    assert numbered(["a", "A"], ["A", "a"])[0] == (1, 0)


def test_labels_of_another_unicode_form_are_the_same() -> None:
    ids = ids_of(["a\u0308rger", "neg", "\u00e4rger"])
    assert (ids.labels, ids.label_names) == ((1, 0, 1), ("neg", "\u00e4rger"))
    assert ids.notes == (
        "1 labels differ from another by their Unicode form alone: they are the same.",
    )
    assert ids_of(["a\u0308rger", "neg"], ["neg", "\u00e4rger"]).labels == (1, 0)
    assert ids_of(["a\u0308rger", "neg"]).notes == ()


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        ("", "missing"),
        ("  ", "missing"),
        ("\u200b", "missing"),
        *((mark, "missing") for mark in ("null", "NULL", "NA", "N/A", "None", "NaN", " nan")),
        (True, "a boolean"),
        ("true", "a boolean"),
        ("False", "a boolean"),
        (1.5, "not a whole number"),
        (float("inf"), "not a whole number"),
        (1e300, "not a whole number"),
        ("0.5", "not a whole number"),
        (".5", "not a whole number"),
        ("-1e3", "not a whole number"),
        ("good ", "surrounded by white space"),
        ([1], "neither an integer nor a string"),
        (b"good", "neither an integer nor a string"),
    ],
)
def test_what_is_no_label_is_refused_in_every_format(bad: object, kind: str) -> None:
    for others in (["good", "bad"], [0, 1]):
        with pytest.raises(DataError, match=rf"a label is {kind}\n  where: file.csv:3\n  got: "):
            numbered([others[0], bad, others[1]])
    with pytest.raises(DataError, match=rf"a label is {kind}\n  where: file.csv:3\n  got: "):
        numbered(["good", bad], ["good", "bad"])


def test_what_is_no_label_by_itself_can_be_the_name_of_a_class() -> None:
    assert numbered(["NA", "EU"], ["EU", "NA"])[0] == (1, 0)
    assert numbered(["True", False, "true"], ["False", "True"])[0] == (1, 0, 1)
    assert numbered(["1.5", 2.5], ["1.5", "2.5"])[0] == (0, 1)


def test_a_second_file_is_numbered_as_the_first_one() -> None:
    first = ids_of([1, 3, 2], ["bad", "meh", "good"])
    assert number_alike(["3", 1.0], places=places([0, 0]), like=first) == (2, 0)
    absent = ids_of(["bad", "meh"], ["bad", "meh", "good"])
    assert number_alike(["good"], places=places([0]), like=absent) == (2,)
    with pytest.raises(
        DataError, match=r"does not occur in the training data\n  where: file.csv:2"
    ):
        number_alike([4], places=places([0]), like=first)


def test_positions_and_names_of_a_task() -> None:
    for values in ([1, 0], ["1", "0"], [1.0, 0.0], ["yes", "no"]):
        labels = number_by_position(values, places=places(values), label_names=("no", "yes"))
        assert labels == (1, 0)
    with pytest.raises(DataError, match="mix integers and names"):
        number_by_position([1, "no"], places=places([0, 0]), label_names=("no", "yes"))
    with pytest.raises(DataError, match="hidden"):
        number_by_position(["-1"], places=places([0]), label_names=("no", "yes"))


def test_mixed_types_are_refused() -> None:
    for values in ([0, 1, "good"], ["0", "1", "good"], ["0", 1, "good"]):
        with pytest.raises(DataError, match=r"mix integers and names\n.*file.csv:4") as caught:
            numbered(list(values))
        assert f"got: 'good', after {values[0]!r} at file.csv:2" in str(caught.value)


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"one class only\n.*\n  got: 3 examples, all labeled 7"):
        numbered([7, 7, 7])


@pytest.mark.parametrize("label", ["7" * 5000, "-" + "7" * 5000, "0." + "7" * 5000, "word " * 300])
def test_what_is_too_long_for_a_label_is_refused(label: str) -> None:
    """A number of 5,000 digits is more than int() reads."""
    with pytest.raises(DataError) as caught:
        numbered(["1", label.strip()])
    assert "a label is longer than 1,000 characters\n  where: file.csv:3" in str(caught.value)
    assert len(str(caught.value)) < 400
