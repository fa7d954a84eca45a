"""From the rows of a task's own columns to texts, pairs of texts and groups.

Where SuperGLUE's format is not already a text or a pair, its rows become what the field trains
encoders on (Wang et al. 2019, SuperGLUE; Raffel et al. 2020, T5, for marks around words and for
ReCoRD's highlights).
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedtt.data.examples import LabeledTexts
from fedtt.data.labels import hidden_label
from fedtt.data.named.answer_matching import exact_match, token_f1
from fedtt.data.named.rows import Rows
from fedtt.errors import DataError

if TYPE_CHECKING:
    from fedtt.data.named.named_task import NamedTask

PLACEHOLDER = "@placeholder"
_ASKED = {"cause": "What was the cause of this?", "effect": "What happened as a result?"}
_WORD = re.compile(r"\S+")
_HIGHLIGHT_AFTER_STOP = re.compile(r"([.?!\"'])\n@highlight\n")


def plain(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """One or two text columns and a class."""
    first, *second = (rows.strings(column) for column in task.text_columns)
    return LabeledTexts(
        texts=first,
        pairs=second[0] if second else None,
        labels=rows.class_ids(task.label_column, task.label_names),
    )


def similarity(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """STS-B: two sentences and a score in [0, 5]; the label is the nearest whole score."""
    first, second = (rows.strings(column) for column in task.text_columns)
    scores = rows.numbers(task.label_column, low=0, high=len(task.label_names) - 1)
    return LabeledTexts(
        texts=first,
        pairs=second,
        labels=tuple(int(score + 0.5) for score in scores),
        targets=scores,
    )


def choices(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """COPA: premise and question, and each of the two choices; label 1 for the right one.

    A group is one row: its two choices, in their order.
    """
    premises, kinds = rows.strings("premise"), rows.strings("question")
    options = (rows.strings("choice1"), rows.strings("choice2"))
    right = rows.class_ids(task.label_column, ("choice1", "choice2"))
    asked = []
    for row, (premise, kind) in enumerate(zip(premises, kinds, strict=True)):
        if kind not in _ASKED:
            raise _bad_row(
                "a question is of an unknown kind",
                rows.place(row, "question"),
                got=kind,
                expected=" or ".join(_ASKED),
            )
        asked.append(f"{premise} {_ASKED[kind]}")
    every = [(row, choice) for row in range(len(rows)) for choice in (0, 1)]
    return LabeledTexts(
        texts=tuple(asked[row] for row, _ in every),
        pairs=tuple(options[choice][row] for row, choice in every),
        labels=tuple(int(right[row] == choice) for row, choice in every),
        groups=tuple(str(row) for row, _ in every),
    )


def answers(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """MultiRC: the paragraph, and question with one answer; a group is one question.

    The question stands with the answer: of a pair the longer text is cut, and without the question
    no answer is right or wrong.
    """
    questions, options = rows.strings("question"), rows.strings("answer")
    keys = rows.keys("idx", ("paragraph", "question"))
    return LabeledTexts(
        texts=rows.strings("paragraph"),
        pairs=tuple(f"{q} {a}" for q, a in zip(questions, options, strict=True)),
        labels=rows.class_ids(task.label_column, task.label_names),
        groups=tuple(f"{paragraph}.{question}" for paragraph, question in keys),
    )


def entities(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """ReCoRD: the passage, and the query with one of its entities filled in; a group is a query.

    The label is 1 where the entity is one of the answers (exact match of SQuAD), the target its F1
    with the nearest answer.
    """
    passages, queries = rows.strings("passage"), rows.strings("query")
    candidates, expected = rows.lists("entities"), rows.lists(task.label_column)
    for row, query in enumerate(queries):
        if not expected[row]:
            raise hidden_label(rows.place(row, task.label_column), got="no answer")
        if not candidates[row]:
            raise _bad_row(
                "a query has no entity to choose from",
                rows.place(row, "entities"),
                got="[]",
                expected="one or more",
            )
        if PLACEHOLDER not in query:
            raise _bad_row(
                "a query has no place for the entity",
                rows.place(row, "query"),
                got=repr(query[:60]),
                expected=f"a text with {PLACEHOLDER}",
            )
    whole = [_without_highlights(passage) for passage in passages]
    every = [(row, entity) for row in range(len(rows)) for entity in candidates[row]]
    return LabeledTexts(
        texts=tuple(whole[row] for row, _ in every),
        pairs=tuple(queries[row].replace(PLACEHOLDER, entity) for row, entity in every),
        labels=tuple(int(exact_match(entity, expected[row])) for row, entity in every),
        groups=tuple(str(row) for row, _ in every),
        targets=tuple(token_f1(entity, expected[row]) for row, entity in every),
    )


def word_in_context(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """WiC: two sentences, the word in question between asterisks in each."""
    marked = []
    for number in (1, 2):
        texts = rows.strings(f"sentence{number}")
        starts, ends = rows.integers(f"start{number}"), rows.integers(f"end{number}")
        for row, (text, start, end) in enumerate(zip(texts, starts, ends, strict=True)):
            if not start < end <= len(text):
                raise _bad_row(
                    "a word lies outside its sentence",
                    rows.place(row, f"start{number}"),
                    got=f"characters {start} to {end} of {len(text)}",
                    expected="0 <= start < end <= length of the sentence",
                )
        spans = zip(texts, starts, ends, strict=True)
        marked.append(tuple(_mark(text, start, end, "*") for text, start, end in spans))
    return LabeledTexts(
        texts=marked[0],
        pairs=marked[1],
        labels=rows.class_ids(task.label_column, task.label_names),
    )


def coreference(task: "NamedTask", rows: Rows) -> LabeledTexts:
    """WSC: one text, the noun phrase between asterisks and the pronoun between number signs."""
    texts = rows.strings("text")
    nouns = _spans(rows, texts, "span1")
    pronouns = _spans(rows, texts, "span2")
    marked = []
    for row, text in enumerate(texts):
        spans = sorted([(*nouns[row], "*"), (*pronouns[row], "#")], reverse=True)
        if spans[1][1] > spans[0][0]:
            raise _bad_row(
                "the noun phrase and the pronoun overlap",
                rows.place(row, "span1_index"),
                got=f"characters {spans[1][:2]} and {spans[0][:2]}",
                expected="two places of the text",
            )
        for start, end, sign in spans:  # the last one first: its marks move nothing before it
            text = _mark(text, start, end, sign)  # noqa: PLW2901
        marked.append(text)
    return LabeledTexts(
        texts=tuple(marked), labels=rows.class_ids(task.label_column, task.label_names)
    )


def _spans(rows: Rows, texts: Sequence[str], name: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of a span that is given by its words and their index."""
    found = []
    spans, indices = rows.strings(f"{name}_text"), rows.integers(f"{name}_index")
    for row, (text, span, index) in enumerate(zip(texts, spans, indices, strict=True)):
        words = list(_WORD.finditer(text))
        count = len(span.split())
        if not count or index + count > len(words):
            raise _bad_row(
                "a span lies outside its text",
                rows.place(row, f"{name}_index"),
                got=f"word {index}, {span!r}, in a text of {len(words)} words",
                expected="the index of the span's first word, counted from 0",
            )
        start = words[index].start()
        # The span itself, so that punctuation stays outside; whole words where they differ.
        same = text[start : start + len(span)].casefold() == span.casefold()
        found.append((start, start + len(span) if same else words[index + count - 1].end()))
    return found


def _mark(text: str, start: int, end: int, sign: str) -> str:
    return f"{text[:start]}{sign} {text[start:end]} {sign}{text[end:]}"


def _without_highlights(passage: str) -> str:
    """The passage as running text: ``@highlight`` starts each of its summary sentences."""
    stopped = _HIGHLIGHT_AFTER_STOP.sub(r"\1 ", passage)
    return stopped.replace("\n@highlight\n", ". ")


def _bad_row(summary: str, where: str, *, got: str, expected: str) -> DataError:
    return DataError(
        summary,
        where=where,
        got=got,
        expected=expected,
        fix="correct this row, or download the file again",
    )
