"""A user's own file without classes: plain texts, prompts with completions, chats, numbers."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from fedtt.data.chat_rows import chat_examples
from fedtt.data.examples import ONE_CLASS, LabeledTexts, RawData
from fedtt.data.files import (
    CLIENT_COLUMN,
    by_client,
    check_table,
    owners_of,
    strings_of,
    unused_notes,
)
from fedtt.data.prompt_rows import PromptColumns, prompt_examples
from fedtt.data.tables import Table, read_table
from fedtt.errors import DataError


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
            return chat_examples(table, columns.messages)
        return prompt_examples(table, columns)

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
    return RawData(
        name=path.stem,
        label_names=ONE_CLASS,
        texts_by_client=by_client(held, owners_of(table, client_column, path)),
        notes=unused_notes(table, [*required, client_column]),
        shared_test=None
        if test_path is None
        else examples(read_table(test_path, required), test_path),
    )
