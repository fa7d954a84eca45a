"""Conversations in the rows of a file: checked, every content one text."""

import json
from pathlib import Path
from typing import Any

from fedtt.data.examples import LabeledTexts, is_unicode
from fedtt.data.tables import Table, read_table
from fedtt.errors import DataError


def chat_examples(table: Table, column: str) -> LabeledTexts:
    """Every conversation: its messages but the last in JSON, and the text of the last."""
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
