"""A user's own file without classes: plain texts, prompts with completions, chats, numbers."""

import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtt.data.examples import ONE_CLASS, LabeledTexts, RawData, is_unicode
from fedtt.data.files import CLIENT_COLUMN, by_client, check_table, strings_of
from fedtt.data.tables import Table, read_table
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


def _chats(table: Table, column: str) -> LabeledTexts:
    prompts, completions = [], []
    for value, place in zip(table.columns[column], table.places, strict=True):
        prompt, completion = _chat(value, where=f"{place}, column {column!r}")
        prompts.append(prompt)
        completions.append(completion)
    return LabeledTexts(texts=tuple(prompts), labels=(0,) * len(prompts), pairs=tuple(completions))


def find_chat(path: Path, column: str, prompt: str) -> str | None:
    """Where in the file the conversation of that prompt is: ``chats.jsonl:3``."""
    table = read_table(path, [column])
    for value, place in zip(table.columns.get(column, ()), table.places, strict=False):
        if _chat(value, where=place)[0] == prompt:
            return place
    return None


def _chat(value: object, *, where: str) -> tuple[str, str]:
    """The messages before the last in JSON, and the text of the last.

    What the last has besides its text (``reasoning_content``) follows them, without a content.
    """
    *before, last = _check_chat(_as_list(value), where=where)
    besides = {key: value for key, value in last.items() if key != "content"}
    if besides.keys() > {"role"}:
        before.append(besides)
    return json.dumps(before, ensure_ascii=False), last["content"]


def _as_list(value: object) -> object:
    """What a text says as JSON: a CSV file has no lists, only their text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _check_chat(messages: object, *, where: str) -> list[dict[str, Any]]:
    """Every message with its content as one text. Raises :class:`DataError`."""
    read = [_message(m) for m in messages] if isinstance(messages, list) else []
    fault = next((f"message {i}: {m}" for i, m in enumerate(read, 1) if isinstance(m, str)), None)
    if fault is None and len(read) < 2:
        fault = f"{len(read)} messages" if isinstance(messages, list) else "no list of messages"
    good = [message for message in read if isinstance(message, dict)]
    if fault is None and good[-1]["role"] != "assistant":
        fault = f"the last message is of role {good[-1]['role']!r}"
    if fault is not None:
        shown = repr(messages)
        raise DataError(
            f"a conversation cannot be learned from: {fault}",
            where=where,
            got=shown if len(shown) <= 80 else f"{shown[:77]}...",
            expected='at least two messages {"role": ..., "content": ...}, the last of the '
            "assistant; a content is a text, or a list of parts that are",
            fix="correct the row, or take it out",
        )
    return good


def _message(message: object) -> dict[str, Any] | str:
    """The message with its content as one text, or what is wrong with it."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return "no role"
    content = message.get("content")
    if isinstance(content, list):
        strange = next((part for part in content if _part_text(part) is None), None)
        if strange is not None:
            kind = strange.get("type") if isinstance(strange, dict) else type(strange).__name__
            return f"a part that is no text ({kind!r})"
        content = "".join(str(_part_text(part)) for part in content)
    if not isinstance(content, str):
        return "no content" if content is None else f"a content that is no text ({content!r})"[:80]
    if not is_unicode(content):
        return "a content that is not valid Unicode"
    return {**message, "content": content} if content.strip() else "an empty content"


def _part_text(part: object) -> str | None:
    """The text of a part of a content, ``{"type": "text", "text": ...}``; None for another part."""
    if isinstance(part, dict) and part.get("type", "text") == "text":
        part = part.get("text")
    return part if isinstance(part, str) else None
