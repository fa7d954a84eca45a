"""A user's own file without classes: plain texts, prompts with completions, chats, numbers."""

import json
import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.data.files import CLIENT_COLUMN, by_client, check_table, strings_of
from fedtt.data.tables import Table, read_table
from fedtt.data.types import ONE_CLASS, LabeledTexts, RawData
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


def load_texts(
    path: Path,
    *,
    text_column: str = "text",
    client_column: str = CLIENT_COLUMN,
    test_path: Path | None = None,
) -> RawData:
    """Plain texts of a file that :func:`fedtt.data.load_text_file` can read, without labels.

    Raises :class:`DataError` like it.
    """

    def examples(table: Table, where: Path) -> LabeledTexts:
        check_table(table, [text_column], where)
        texts = strings_of(table, text_column, what="text", is_id=False)
        return LabeledTexts(texts=tuple(texts), labels=(0,) * len(texts))

    return _load(path, [text_column], examples, client_column=client_column, test_path=test_path)


def load_numbers(
    path: Path,
    *,
    text_column: str = "text",
    pair_column: str | None = None,
    number_column: str = "label",
    client_column: str = CLIENT_COLUMN,
    test_path: Path | None = None,
) -> RawData:
    """Texts, or pairs, of such a file with a number each as ``targets``.

    Raises :class:`DataError` like :func:`fedtt.data.load_text_file`, and for what is no number.
    """
    sides = [text_column, *([pair_column] if pair_column else [])]

    def examples(table: Table, where: Path) -> LabeledTexts:
        check_table(table, [*sides, number_column], where)
        texts = [tuple(strings_of(table, side, what="text", is_id=False)) for side in sides]
        numbers = zip(table.columns[number_column], table.places, strict=True)
        return LabeledTexts(
            texts=texts[0],
            pairs=texts[1] if pair_column else None,
            labels=(0,) * len(texts[0]),
            targets=tuple(_number(value, where=place) for value, place in numbers),
        )

    return _load(
        path,
        [*sides, number_column],
        examples,
        client_column=client_column,
        test_path=test_path,
    )


def _number(value: object, *, where: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise DataError(
            "a label is no number",
            where=where,
            got=repr(value)[:80],
            expected="a finite number in every row, which the regression is to predict",
            fix="correct the row, take it out, or name another label_column",
        )
    return number


def load_prompts(
    path: Path,
    *,
    columns: PromptColumns,
    client_column: str = CLIENT_COLUMN,
    test_path: Path | None = None,
) -> RawData:
    """Prompts as ``texts``, completions as ``pairs``, right answers as ``references``.

    The prompt of a chat is its messages but the last as JSON. Raises :class:`DataError` like
    :func:`fedtt.data.load_text_file`, and for a value that is no completion or no chat.
    """

    def examples(table: Table, where: Path) -> LabeledTexts:
        check_table(table, columns.required, where)
        if columns.messages is not None:
            return _chats(table, columns.messages)
        return _prompts(table, columns)

    return _load(path, columns.required, examples, client_column=client_column, test_path=test_path)


def _load(
    path: Path,
    required: Sequence[str],
    examples: Callable[[Table, Path], LabeledTexts],
    *,
    client_column: str,
    test_path: Path | None,
) -> RawData:
    table = read_table(path, (*required, client_column))
    held = examples(table, path)
    if client_column in table.names or client_column != CLIENT_COLUMN:
        check_table(table, [client_column], path)
        clients = strings_of(table, client_column, what="client id", is_id=True)
    else:
        clients = [path.stem] * len(held)
    unused = sorted(set(table.names) - {*required, client_column})
    return RawData(
        name=path.stem,
        label_names=ONE_CLASS,
        texts_by_client=by_client(held, clients),
        notes=(f"Columns not used: {', '.join(map(ascii, unused))}.",) if unused else (),
        shared_test=None
        if test_path is None
        else examples(read_table(test_path, required), test_path),
    )


def _prompts(table: Table, columns: PromptColumns) -> LabeledTexts:
    fields = {
        name: strings_of(table, name, what="part of a prompt", is_id=False)
        for name in columns.fields
    }
    template = columns.prompt if columns.fields != [columns.prompt] else "{" + columns.prompt + "}"
    prompts = [
        template.format(**dict(zip(fields, row, strict=True)))
        for row in zip(*fields.values(), strict=True)
    ]
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


def _answers(value: object, keys: Sequence[str], *, where: str) -> tuple[str, ...]:
    """One text or several, the first of which is learned."""
    found = value
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    several = found if isinstance(found, list) else [found]
    texts = tuple(text for text in several if isinstance(text, str) and text.strip())
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


def _chats(table: Table, column: str) -> LabeledTexts:
    prompts, completions = [], []
    for value, place in zip(table.columns[column], table.places, strict=True):
        messages = _check_chat(_as_list(value), where=f"{place}, column {column!r}")
        prompts.append(json.dumps(messages[:-1], ensure_ascii=False))
        completions.append(messages[-1]["content"])
    return LabeledTexts(texts=tuple(prompts), labels=(0,) * len(prompts), pairs=tuple(completions))


def _as_list(value: object) -> object:
    """What a text says as JSON: a CSV file has no lists, only their text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _check_chat(messages: object, *, where: str) -> list[dict[str, str]]:
    parts = messages if isinstance(messages, list) else []
    texts = len(parts) >= 2 and all(
        isinstance(m, dict)
        and isinstance(m.get("role"), str)
        and isinstance(m.get("content"), str)
        and m["content"].strip()
        for m in parts
    )
    if not (texts and parts[-1]["role"] == "assistant"):
        shown = repr(messages)
        raise DataError(
            "a conversation cannot be learned from",
            where=where,
            got=shown if len(shown) <= 80 else f"{shown[:77]}...",
            expected='at least two messages {"role": ..., "content": ...}, the last of the '
            "assistant, none of them empty",
            fix="correct the row, or take it out",
        )
    return parts
