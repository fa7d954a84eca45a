"""Rows as texts, pairs, groups and answers: every word of a few examples, by hand."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.named_rows import (
    COPA,
    DROP,
    MULTIRC,
    NO_DATE,
    RECORD,
    SQUAD,
    STSB,
    WIC,
    WSC,
    write_rows,
)

from fedtt.data import LabeledTexts, load_named_split
from fedtt.data.named.answer_matching import exact_match, normalize_answer, token_f1
from fedtt.errors import DataError


def load(folder: Path, name: str, rows: Any, suffix: str = ".jsonl") -> LabeledTexts:
    write_rows(folder / f"train{suffix}", rows)
    return load_named_split(name, "train", directory=folder)


def test_copa_is_one_example_a_choice(tmp_path: Path) -> None:
    first = "My body cast a shadow over the grass. What was the cause of this?"
    second = "The pond froze over. What happened as a result?"
    assert load(tmp_path, "copa", COPA) == LabeledTexts(
        texts=(first, first, second, second),
        pairs=(
            "The sun was rising.",
            "The grass was cut.",
            "People swam in it.",
            "People skated on it.",
        ),
        labels=(1, 0, 0, 1),
        groups=("0", "0", "1", "1"),
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_multirc_is_grouped_by_question(tmp_path: Path, suffix: str) -> None:
    assert load(tmp_path, "multirc", MULTIRC, suffix) == LabeledTexts(
        texts=("Paragraph 0.",) * 3 + ("Paragraph 1.",),
        pairs=(
            "Question 0? Answer 0",
            "Question 0? Answer 1",
            "Question 1? Answer 2",
            "Question 2? Answer 3",
        ),
        labels=(1, 0, 1, 0),
        groups=("0.0", "0.0", "0.1", "1.2"),
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_record_is_one_example_an_entity(tmp_path: Path, suffix: str) -> None:
    first = "The ship of Anna Lee sank. Lee was saved"
    found = load(tmp_path, "record", RECORD, suffix)
    assert found == LabeledTexts(
        texts=(first,) * 3 + ("Paris beat Rome",) * 2,
        pairs=(
            "Anna Lee is well, said the Coast Guard",
            "Coast Guard is well, said the Coast Guard",
            "Lee Harbor is well, said the Coast Guard",
            "the fans of Paris wept",
            "the fans of Rome wept",
        ),
        labels=(1, 0, 0, 0, 1),
        groups=("0", "0", "0", "1", "1"),
        # "Lee Harbor" against "Lee": 2 * 1 common / (2 + 1 words); against "Anna Lee" only 2/4.
        targets=(1.0, 0.0, 2 / 3, 0.0, 1.0),
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_wic_marks_the_word(tmp_path: Path, suffix: str) -> None:
    assert load(tmp_path, "wic", WIC, suffix) == LabeledTexts(
        texts=("The * bank * was steep.", "* Cold * nights."),
        pairs=("A * bank * lends money.", "It was * cold *"),
        labels=(0, 1),
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_wsc_marks_both_spans(tmp_path: Path, suffix: str) -> None:
    assert load(tmp_path, "wsc", WSC, suffix).texts == (
        "* Mark * told Pete many lies about # himself #, which Pete believed.",
        "When # they # came, * the old dogs * barked.",
    )


def test_wsc_marks_whole_words_where_the_span_is_written_differently(tmp_path: Path) -> None:
    other = WSC[0] | {"span2_text": "him self", "span2_index": 5}
    assert load(tmp_path, "wsc", [other]).texts == (
        "* Mark * told Pete many lies # about himself, # which Pete believed.",
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_stsb_keeps_its_scores(tmp_path: Path, suffix: str) -> None:
    found = load(tmp_path, "stsb", STSB, suffix)
    assert found.targets == (5.0, 2.5, 0.0, 3.2)
    assert found.labels == (5, 3, 0, 3)  # to the nearest; 2.5 goes up
    assert found.pairs == ("Two 0.", "Two 1.", "Two 2.", "Two 3.")


BAD = {
    "copa kind": ("copa", [COPA[0], COPA[1] | {"question": "why"}], r"unknown kind(.|\n)*:2, "),
    "copa label": ("copa", [COPA[0] | {"label": 2}], r"not one of the task's classes(.|\n)*:1\n"),
    "multirc idx": ("multirc", [MULTIRC[0] | {"idx": 3}], r"not a record(.|\n)*:1, column 'idx'"),
    "multirc key": (
        "multirc",
        [MULTIRC[0] | {"idx": {"paragraph": 1}}],
        r"not a whole number from 0(.|\n)*:1, column 'idx', 'question'\n  got: None",
    ),
    "record place": (
        "record",
        [RECORD[0], RECORD[1] | {"query": "the fans wept"}],
        r"no place for the entity(.|\n)*:2, column 'query'(.|\n)*@placeholder",
    ),
    "record hidden": (
        "record",
        [RECORD[0] | {"answers": []}],
        r"hidden(.|\n)*:1, (.|\n)*no answer",
    ),
    "record none": (
        "record",
        [RECORD[0] | {"entities": []}],
        r"no entity to choose from(.|\n)*:1, ",
    ),
    "record string": ("record", [RECORD[0] | {"entities": "Lee"}], r"a value is not a list"),
    "record entity": (
        "record",
        [RECORD[0] | {"entities": ["a", 3]}],
        r"text is not a string(.|\n)*:1, column 'entities'\n  got: 3",
    ),
    "wic end": (
        "wic",
        [WIC[0], WIC[1] | {"end2": 12}],
        r"outside its sentence(.|\n)*:2, (.|\n)* 11",
    ),
    "wic start": ("wic", [WIC[0] | {"start1": -4}], r"whole number from 0(.|\n)*'start1'"),
    "wsc index": ("wsc", [WSC[1] | {"span1_index": 6}], r"outside its text(.|\n)*word 6, (.|\n)*"),
    "wsc empty": ("wsc", [WSC[1] | {"span1_text": " "}], r"outside its text"),
    "wsc overlap": ("wsc", [WSC[1] | {"span2_index": 4}], r"overlap"),
    "stsb range": ("stsb", [STSB[0], STSB[1] | {"label": 5.1}], r"not between 0 and 5(.|\n)*:2, "),
    "stsb hidden": ("stsb", [STSB[0] | {"label": -1.0}], r"hidden(.|\n)*:1, column 'label'"),
    "squad hidden": (
        "squad",
        [SQUAD[0] | {"answers": {"text": [], "answer_start": []}}],
        r"hidden(.|\n)*:1, column 'answers', 'text'",
    ),
    "squad list": ("squad", [SQUAD[0] | {"answers": ["3"]}], r"not a record(.|\n)*:1, "),
    "drop hidden": (
        "drop",
        [DROP[0], DROP[2] | {"answer": DROP[2]["answer"] | {"date": NO_DATE}}],
        r"hidden(.|\n)*:2, column 'answer'\n  got: no answer",
    ),
    "drop number": (
        "drop",
        [DROP[0] | {"answer": {"number": 8, "spans": [], "date": NO_DATE}}],
        r"not a string(.|\n)*:1, column 'answer', 'number'\n  got: 8",
    ),
    "drop annotators": (
        "drop",
        [DROP[0] | {"validated_answers": {"number": ["8"], "spans": [], "date": []}}],
        r"not lists of the same length(.|\n)*:1, column 'validated_answers'",
    ),
    "stsb text": ("stsb", [STSB[0] | {"label": "high"}], r"not a number(.|\n)*got: 'high'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    name, rows, message = BAD[case]
    with pytest.raises(DataError, match=message):
        load(tmp_path, name, rows)


@pytest.mark.parametrize(("name", "rows"), [("multirc", MULTIRC), ("record", RECORD)])
def test_csv_has_no_lists_or_records(tmp_path: Path, name: str, rows: Any) -> None:
    with pytest.raises(DataError, match=r"a value is not a (.|\n)*CSV file has none: use the JSON"):
        load(tmp_path, name, rows, ".csv")


def test_squad_asks_on_the_passage_and_every_answer_is_right(tmp_path: Path) -> None:
    held = load(tmp_path, "squad", SQUAD)
    assert held.texts[0] == "The pond of Ulm has 3 ducks.\nQuestion: How many ducks?\nAnswer:"
    assert held.pairs == (" 3", " 12")  # the first one, as it follows "Answer:"
    assert held.references == (("3", "3 ducks"), ("12", "12 ducks"))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_drop_answers_are_numbers_spans_or_dates(tmp_path: Path, suffix: str) -> None:
    held = load(tmp_path, "drop", DROP, suffix)
    assert held.texts[1] == "Anna and Ben won in May 1999.\nQuestion: Who won?\nAnswer:"
    assert held.references == (("8", "3\n5"), ("Anna\nBen",), ("May 1999",))


def test_answers_are_normalized_as_squad_does() -> None:
    assert normalize_answer("The U.S.  Navy's  an anthem") == "us navys anthem"
    assert exact_match("the Lee!", ["Anna", "lee"]) == 1
    assert exact_match("Lees", ["Lee"]) == 0
    # Words that occur twice count twice only where both have two: 2 * 2 / (3 + 2).
    assert token_f1("red red car", ["Red red"]) == pytest.approx(4 / 5)
    assert token_f1("x", ["y"]) == 0
    assert token_f1("Lee Harbor", ["Anna Lee", "Lee"]) == pytest.approx(2 / 3)
    assert [token_f1("The", ["an"]), token_f1("The", ["x"])] == [1, 0]  # nothing is left of either


WORDS = st.lists(st.sampled_from(["x", "y", "z", "the", "."]), max_size=6).map(" ".join)


@given(first=WORDS, second=WORDS)
def test_f1_is_symmetric_and_one_for_the_same_words(first: str, second: str) -> None:
    score = token_f1(first, [second])
    assert 0 <= score <= 1
    assert score == token_f1(second, [first])
    same = sorted(normalize_answer(first).split()) == sorted(normalize_answer(second).split())
    assert (score == 1) == same
