"""Exact match and F1 of answers, after the official evaluation scripts of SQuAD and DROP."""

import pytest

from fedtt.data.named.answer_matching import exact_match, normalize_answer, token_f1
from fedtt.tasks.answer_scores import drop_exact_match, drop_f1, normalize_drop


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("an apple, a day", "apple day"),
        ("U.S.", "us"),
        ("theater", "theater"),  # no article inside a word
        ("...", ""),
    ],
)
def test_squad_ignores_case_articles_punctuation_and_space(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


def test_one_reference_that_matches_is_enough() -> None:
    assert exact_match("The cat!", ["dog", "a cat"]) == 1.0
    assert exact_match("cats", ["dog", "a cat"]) == 0.0


def test_f1_is_of_bags_of_words_and_the_best_over_references() -> None:
    # "big red dog" and "red dog barks": 2 in common, precision 2/3, recall 2/3, F1 2/3.
    assert token_f1("big red dog", ["red dog barks"]) == pytest.approx(2 / 3)
    # Once "dog" in the answer meets one of two: precision 1, recall 1/2, F1 2/3.
    assert token_f1("dog", ["dog dog"]) == pytest.approx(2 / 3)
    assert token_f1("big red dog", ["cat", "big red dog"]) == 1.0
    assert token_f1("cat", ["dog"]) == 0.0


def test_an_empty_answer_matches_an_empty_reference_only() -> None:
    assert token_f1("the", ["a"]) == 1.0  # both empty once normalized
    assert token_f1("", ["dog"]) == 0.0


def test_drop_reads_numbers_as_numbers_and_hyphens_as_spaces() -> None:
    assert normalize_drop("The 12-yard  pass") == "12.0 yard pass"
    assert drop_exact_match("5", ["5.0"]) == 1.0
    assert drop_exact_match("5", ["five"]) == 0.0


def test_a_drop_reference_with_a_number_counts_only_with_that_number() -> None:
    assert drop_f1("4 yards", ["5 yards"]) == 0.0
    # {4.0, yards} and {4.0, long, yards}: precision 1, recall 2/3, F1 4/5.
    assert drop_f1("4 yards", ["4 long yards"]) == pytest.approx(0.8)


def test_drop_answers_of_several_spans_are_matched_one_to_one() -> None:
    assert drop_exact_match("Ben\nAnna", ["Anna\nBen"]) == 1.0
    assert drop_exact_match("Anna", ["Anna\nBen"]) == 0.0
    assert drop_exact_match("Anna\nAnna", ["Anna"]) == 0.0
    assert drop_exact_match("\nBen\n\nAnna\n", ["Anna\nBen"]) == 1.0  # empty lines are none
    assert drop_f1("\n", ["Anna"]) == 0.0
    assert drop_f1("Ben\nAnna", ["Anna\nBen"]) == 1.0
    # One of two spans found: the mean is over two, whoever has them.
    assert drop_f1("Anna", ["Anna\nBen"]) == pytest.approx(0.5)
    assert drop_f1("Anna\nBen", ["Anna"]) == pytest.approx(0.5)
    # {red, dog} meets {dog} (2/3), not {red} (2/3) as well: with {red} left for nobody, 1/3.
    assert drop_f1("red dog", ["red\ndog"]) == pytest.approx(1 / 3)
    # "big cat" must go to "cat", so that "cat big dog" can go to "dog": (2/3 + 1/2) / 2.
    assert drop_f1("cat big dog\nbig cat", ["cat\ndog"]) == pytest.approx((2 / 3 + 1 / 2) / 2)
