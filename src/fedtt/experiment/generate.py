"""A run's model, writing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TextStreamer

from fedtt.data import is_unicode, prompt_ids
from fedtt.engine.task import MODEL_CLASSES
from fedtt.errors import ConfigError, DataError, RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.saved import OpenedRun, open_model
from fedtt.seeds import random_stream

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
        DataError: the prompt is not valid Unicode, or has no tokens.
    """
    config = open_run(path).config()
    if MODEL_CLASSES[config.task.kind] != "causal":
        raise RunError(
            "the run's model classifies texts, it does not write them",
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
    (ids,) = prompt_ids([text], tokenizer=tokenizer, chat=chat)
    if not ids:
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
    drawn = sampling.temperature > 0
    given = torch.tensor([ids], device=next(model.parameters()).device)
    with random_stream(sampling.seed), torch.inference_mode():
        written = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=drawn,
            temperature=sampling.temperature if drawn else None,
            top_p=sampling.top_p if drawn else None,
            top_k=None,
            pad_token_id=int(opened.tokenizer.pad_token_id),
            streamer=_Streamer(opened.tokenizer, say),
        )
    text: str = opened.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)
    return text


class _Streamer(TextStreamer):  # type: ignore[misc]  # transformers' extension point
    """Hands on whole words as they are finished, instead of printing them."""

    def __init__(self, tokenizer: Any, say: Say) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._say = say

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 (transformers' signature)
        """Called by transformers with every finished piece."""
        self._say(text)
