"""Questions on a passage whose answers a model writes: SQuAD and DROP.

Prompts are texts, the first published answer is the completion to learn, and all published answers
count as right.
"""

from collections.abc import Mapping, Sequence

from fedtt.data.examples import ONE_CLASS, LabeledTexts
from fedtt.data.labels import hidden_label
from fedtt.data.named.named_task import NamedTask
from fedtt.data.named.rows import Rows, as_record, as_string, as_strings
from fedtt.errors import DataError

# What can answer a question of DROP, in the order in which the official script looks.
NUMBER, SPANS, DATE = "number", "spans", "date"


def extracted(task: NamedTask, rows: Rows) -> LabeledTexts:
    """SQuAD: the answers are spans of the passage, ``{"text": [...], "answer_start": [...]}``."""
    answers = []
    for row, record in enumerate(rows.records(task.label_column)):
        where = f"{rows.place(row, task.label_column)}, 'text'"
        texts = as_strings(record.get("text"), where=where)
        if not texts:
            raise hidden_label(where, got="no answer")
        answers.append(tuple(dict.fromkeys(texts)))
    return _asked(task, rows, answers)


def reasoned(task: NamedTask, rows: Rows) -> LabeledTexts:
    """DROP: a number, spans (one a line) or a date; further annotators' answers are right too."""
    answers = []
    others = rows.records("validated_answers")
    for row, record in enumerate(rows.records(task.label_column)):
        where = rows.place(row, task.label_column)
        further = _further(others[row], where=rows.place(row, "validated_answers"))
        # Not every annotator found an answer.
        found = tuple(dict.fromkeys(filter(None, (_written(record, where=where), *further))))
        if not found:
            raise hidden_label(where, got="no answer")
        answers.append(found)
    return _asked(task, rows, answers)


def _asked(task: NamedTask, rows: Rows, answers: Sequence[tuple[str, ...]]) -> LabeledTexts:
    columns = [rows.strings(column) for column in task.text_columns]
    prompts = tuple(
        task.prompt.format(**dict(zip(task.text_columns, values, strict=True)))
        for values in zip(*columns, strict=True)
    )
    return LabeledTexts(
        texts=prompts,
        labels=(0,) * len(prompts),
        pairs=tuple(f" {right[0]}" for right in answers),  # as a word that follows the prompt
        references=tuple(answers),
    )


def _written(answer: Mapping[str, object], *, where: str) -> str:
    """An annotator's answer as a model is to write it; empty where there is none."""
    number = as_string(answer.get(NUMBER), where=f"{where}, {NUMBER!r}")
    if number:
        return number
    spans = as_strings(answer.get(SPANS), where=f"{where}, {SPANS!r}")
    if spans:
        return "\n".join(" ".join(span.split()) for span in spans)
    date = as_record(answer.get(DATE), where=f"{where}, {DATE!r}")
    parts = (as_string(date.get(p), where=f"{where}, {p!r}") for p in ("day", "month", "year"))
    return " ".join(part for part in parts if part)


def _further(record: Mapping[str, object], *, where: str) -> list[str]:
    """Further answers: the hub has them as a record of lists, an entry an annotator."""
    lists = [record.get(key) for key in (NUMBER, SPANS, DATE)]
    sizes = {len(values) if isinstance(values, list) else -1 for values in lists}
    if len(sizes) != 1 or -1 in sizes:
        raise DataError(
            "validated answers are not lists of the same length",
            where=where,
            expected=f"{NUMBER!r}, {SPANS!r} and {DATE!r} with an entry for each annotator",
            fix="correct this row, or download the file again",
        )
    columns = [values for values in lists if isinstance(values, list)]
    return [
        _written(dict(zip((NUMBER, SPANS, DATE), entry, strict=True)), where=where)
        for entry in zip(*columns, strict=True)
    ]


SQUAD = NamedTask(
    name="squad",
    about="passage and question: the answer, a part of the passage, is written",
    hub_id="rajpurkar/squad",
    kind="generation",
    hidden_splits=(),
    text_columns=("context", "question"),
    label_column="answers",
    label_names=ONE_CLASS,
    metrics=("f1", "exact_match"),
    prompt="{context}\nQuestion: {question}\nAnswer:",
    answers="squad",
    convert=extracted,
)
DROP = NamedTask(
    name="drop",
    about="passage and question that asks to count, add or compare: the answer is written",
    hub_id="EleutherAI/drop",  # with every annotator's answer
    hub_revision="refs/convert/parquet",  # its files; the repository itself has a script
    kind="generation",
    hidden_splits=(),
    text_columns=("passage", "question"),
    label_column="answer",
    columns=("validated_answers",),
    label_names=ONE_CLASS,
    metrics=("f1", "exact_match"),
    prompt="{passage}\nQuestion: {question}\nAnswer:",
    answers="drop",
    convert=reasoned,
)

QUESTIONS = (SQUAD, DROP)
