"""A causal language model going on from prompts: as asked here, whatever its own settings say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How tokens are chosen, and when a text ends.

    The most probable at ``temperature`` 0, else drawn; ``top_p`` keeps the smallest set of tokens
    of at least that probability. A text ends with one of ``stops``, or of the model's own end
    tokens.
    """

    max_new_tokens: int
    pad_token_id: int
    stops: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0


def complete(
    model: Any, prompts: Sequence[np.ndarray], *, writing: Writing, streamer: Any = None
) -> list[list[int]]:
    """What the model writes after every prompt, without the end and padding.

    Prompts are padded on the left: what is written follows them at once. ``streamer``, of
    transformers, hears every token of a single prompt.
    """
    length = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), length), writing.pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = 1
    device = next(model.parameters()).device
    stops = writing.stops | own_stops(model)
    with _without_own_settings(model):
        written: Tensor = model.generate(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=_settings(writing, stops),
            streamer=streamer,
        )
    return [_until(row, stops) for row in written[:, length:].tolist()]


def own_stops(model: Any) -> frozenset[int]:
    """The tokens at which the model's own settings end a text."""
    ends = model.generation_config.eos_token_id
    return frozenset({ends} if isinstance(ends, int) else ends or ())


def _settings(writing: Writing, stops: frozenset[int]) -> GenerationConfig:
    drawn = {"temperature": writing.temperature, "top_p": writing.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=writing.max_new_tokens,
        eos_token_id=sorted(stops),
        pad_token_id=writing.pad_token_id,
        do_sample=writing.temperature > 0,
        **(drawn if writing.temperature > 0 else {}),
    )


@contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """The model as if it had no generation settings: what a call leaves out comes from these."""
    owner = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = owner.generation_config
    owner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        owner.generation_config = own


def _until(ids: Sequence[int], stops: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:end])
