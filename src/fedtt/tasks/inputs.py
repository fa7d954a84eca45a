"""What any kind of task is built from; each takes of it what it needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TaskInputs:
    """Tokenizer, classes and the keys of ``[task]``, those of a named task in their places.

    ``metrics`` are the official ones of a named task, the headline one first.
    """

    tokenizer: Any
    label_names: Sequence[str]
    metrics: Sequence[str] = ()
    prompt: str = ""
    words: Sequence[str] = ()
    chat: bool = False
    answers: str | None = None
    max_new_tokens: int | None = None
    today: date | None = None

    @property
    def pad_token_id(self) -> int:
        """Id of the token that fills up short texts."""
        return int(self.tokenizer.pad_token_id)
