"""Prompts and completions in the rows of a file, and the columns that they are made of."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtt.data.examples import LabeledTexts, is_unicode
from fedtt.data.files import strings_of
from fedtt.data.tables import Table
from fedtt.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PromptColumns:
    """Where a prompt and its completion stand in a file.

    ``prompt`` is a column's name, or a template with columns' names in braces. ``completion`` is a
    column of texts or of lists of texts (several right answers, the first of which is learned);
    ``completion.key`` looks into a column of objects, as SQuAD's ``answers.text``. With
    ``messages`` both come from that column of ``{"role", "content"}`` lists: the last message, of
    the assistant, is the completion.
    """

    prompt: str = "prompt"
    completion: str = "completion"
    messages: str | None = None

    @property
    def fields(self) -> list[str]:
        """The columns that a prompt is made of."""
        names = [name for _, name, _, _ in string.Formatter().parse(self.prompt) if name]
        return names or [self.prompt]

    @property
    def required(self) -> list[str]:
        """Every column that has to be there."""
        if self.messages is not None:
            return [self.messages]
        return [*self.fields, self.completion.split(".")[0]]


def prompt_examples(table: Table, columns: PromptColumns) -> LabeledTexts:
    """Prompts as ``texts``, completions as ``pairs``, right answers as ``references``."""
    template = columns.prompt if columns.fields != [columns.prompt] else "{" + columns.prompt + "}"
    prompts = [_prompt(template, fields) for fields in _prompt_fields(table, columns.fields)]
    column, *keys = columns.completion.split(".")
    references = [
        _answers(value, keys, where=f"{place}, column {column!r}")
        for value, place in zip(table.columns[column], table.places, strict=True)
    ]
    return LabeledTexts(
        texts=tuple(prompts),
        labels=(0,) * len(prompts),
        pairs=tuple(right[0] for right in references),
        references=tuple(references),
    )


def _prompt_fields(table: Table, names: Sequence[str]) -> list[dict[str, str]]:
    """The parts of every row's prompt. One may be empty where another is not, as Alpaca's input."""
    cells = {name: [_filled(value) for value in table.columns[name]] for name in names}
    filled = [
        [name for name in names if cells[name][row]] or list(names[:1])
        for row in range(len(table.places))
    ]
    for name in names:
        rows = [row for row, there in enumerate(filled) if name in there]
        part = Table(
            names=table.names,
            columns={name: [table.columns[name][row] for row in rows]},
            places=[table.places[row] for row in rows],
        )
        for row, text in zip(
            rows, strings_of(part, name, what="part of a prompt", is_id=False), strict=True
        ):
            cells[name][row] = text
    return [{name: str(cells[name][row]) for name in names} for row in range(len(table.places))]


def _filled(value: object) -> object:
    """The cell, or an empty text for one with nothing in it."""
    return "" if value is None or (isinstance(value, str) and not value.strip()) else value


def _prompt(template: str, fields: Mapping[str, str]) -> str:
    text = template.format(**fields)
    # White space that led to an empty part leads nowhere.
    return text if all(fields.values()) else text.strip()


def _answers(value: object, keys: Sequence[str], *, where: str) -> tuple[str, ...]:
    """One text or several, the first of which is learned."""
    found = value
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    several = found if isinstance(found, list) else [found]
    texts = tuple(
        text for text in several if isinstance(text, str) and text.strip() and is_unicode(text)
    )
    if not texts or len(texts) < len(several):
        shown = repr(value)
        raise DataError(
            "a completion is no text",
            where=where,
            got=shown if len(shown) <= 80 else f"{shown[:77]}...",
            expected="a text, or a list of at least one"
            + (f", under {'.'.join(keys)!r}" if keys else ""),
            fix="correct the row, or take it out",
        )
    return texts
