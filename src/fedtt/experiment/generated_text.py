"""A run's model, writing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TextStreamer

from fedtt.data import is_unicode, prompt_ids, stop_tokens
from fedtt.engine.build_task import model_class_of
from fedtt.errors import ConfigError, DataError, RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.opened_run import OpenedRun, open_model
from fedtt.seeds import random_stream
from fedtt.tasks.writing import Writing, complete, own_stops

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen: the most probable at ``temperature`` 0, else drawn from ``seed``.

    ``top_p`` keeps the smallest set of tokens of at least that probability.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def generate_text(path: Path, prompt: str, *, sampling: Sampling, say: Say) -> str:
    """What the run's model writes after ``prompt``; ``say`` hears every piece as it comes.

    The prompt of a run that was trained on chats is a user's message in the model's chat template.

    Raises:
        RunError: the run's model does not write, or its base weights are not those of the run.
        ConfigError: prompt and new tokens are more than the model has positions for.
        DataError: the prompt is not valid Unicode, has no tokens, or is refused by the model's chat
            template.
    """
    config = open_run(path).config()
    if model_class_of(config.task) != "causal":
        raise RunError(
            "the run's model says what texts are, it does not write them",
            where=f"{path}, task.kind = {config.task.kind!r}",
            fix="fedtt predict RUN TEXT",
        )
    if not is_unicode(prompt):
        raise DataError("the prompt is not valid Unicode", got=ascii(prompt[:60]))
    opened = open_model(path)
    ids = _ids(opened, prompt)
    _check_length(opened.model, len(ids), sampling.max_new_tokens)
    return _write(opened, ids, sampling=sampling, say=say)


def _ids(opened: OpenedRun, prompt: str) -> list[int]:
    chat = opened.config.task.messages is not None
    text = json.dumps([{"role": "user", "content": prompt}]) if chat else prompt
    tokenizer: Any = opened.tokenizer
    (ids,) = prompt_ids([text], tokenizer=tokenizer, chat=chat, today=opened.config.task.date)
    if not ids or (chat and not prompt.strip()):
        raise DataError("the prompt has no tokens", got=repr(prompt[:60]), fix="write a longer one")
    return ids


def _check_length(model: Any, given: int, new: int) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and given + new > positions:
        raise ConfigError(
            "prompt and new tokens are more than the model has positions for",
            where="--max-new-tokens",
            got=f"{given} + {new} tokens",
            expected=f"at most {positions} together",
            fix="shorten the prompt, or lower --max-new-tokens",
        )


def _write(opened: OpenedRun, ids: list[int], *, sampling: Sampling, say: Say) -> str:
    model: Any = opened.model.eval()
    tokenizer: Any = opened.tokenizer
    task = opened.config.task
    stops = stop_tokens(tokenizer, chat=task.messages is not None, today=task.date)
    writing = Writing(
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=int(tokenizer.pad_token_id),
        stops=frozenset(stops),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
    )
    streamer = _Streamer(tokenizer, say, silent=writing.stops | own_stops(model))
    with random_stream(sampling.seed), torch.inference_mode():
        (written,) = complete(model, [np.array(ids)], writing=writing, streamer=streamer)
    text: str = tokenizer.decode(written, skip_special_tokens=True)
    return text


class _Streamer(TextStreamer):  # type: ignore[misc]  # transformers' extension point
    """Hands on whole words as they are finished, without those of ``silent``."""

    def __init__(self, tokenizer: Any, say: Say, *, silent: frozenset[int]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say, self._silent = say, silent

    def put(self, value: torch.Tensor) -> None:
        """Called by transformers with the prompt, and then with every token."""
        if value.numel() != 1 or self.next_tokens_are_prompt or int(value) not in self._silent:
            super().put(value)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 (transformers' signature)
        """Called by transformers with every finished piece."""
        self._say(text)
