"""Texts that somebody asks a model about."""

from collections.abc import Sequence

from fedtt.data.examples import is_unicode
from fedtt.errors import DataError


def check_texts(texts: Sequence[str]) -> None:
    """Raise :class:`DataError` for a text that no file may hold: an empty one, or no Unicode."""
    for index, text in enumerate(texts):
        if not is_unicode(text):
            raise DataError(
                "a text is not valid Unicode",
                where=f"text {index + 1}",
                got=repr(text[:60]),
                expected="UTF-8, where it comes from a command line",
                fix="convert the text to UTF-8",
            )
        if not text.strip():
            raise DataError(
                "a text is empty",
                where=f"text {index + 1}",
                got=repr(text[:60]),
                expected="words",
                fix="take the text out",
            )
