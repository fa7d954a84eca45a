"""Prompts and completions: only the completion is learned; answers may be generated and scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedtt.data import TokenizedTexts, tokenize_completions
from fedtt.data.completions import ChatTokenizer
from fedtt.metrics import Score
from fedtt.tasks.answers import RULES, Rule
from fedtt.tasks.language_modeling import PERPLEXITY, judge_tokens, token_loss, token_metrics
from fedtt.tasks.task import Outcomes, Task

F1 = Score(name="f1", higher_is_better=True)


@dataclass(frozen=True, kw_only=True)
class _Scoring:
    """How answers are written and scored."""

    tokenizer: Any
    pad_token_id: int
    rules: tuple[Rule, Rule]
    max_new_tokens: int


def generation(
    *,
    tokenizer: ChatTokenizer,
    pad_token_id: int,
    chat: bool,
    answers: str | None,
    max_new_tokens: int,
) -> Task:
    """The task of a causal language model that completes prompts.

    ``answers`` names the rule by which generated answers are scored (a key of
    :data:`fedtt.tasks.answers.RULES`): then every judged example is also completed greedily, at
    most ``max_new_tokens`` long, and compared with its references. None: perplexity alone.
    """
    judge = partial(judge_tokens, pad_token_id)
    if answers is not None:
        scoring = _Scoring(
            tokenizer=tokenizer,
            pad_token_id=pad_token_id,
            rules=RULES[answers],
            max_new_tokens=max_new_tokens,
        )
        judge = partial(_judge_answers, scoring)
    return Task(
        model_class="causal",
        score=PERPLEXITY if answers is None else F1,
        tokenize=partial(tokenize_completions, tokenizer=tokenizer, chat=chat),
        loss=token_loss,
        judge=judge,
        metrics=token_metrics if answers is None else _answer_metrics,
    )


def _judge_answers(
    scoring: _Scoring, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    outcomes = judge_tokens(scoring.pad_token_id, model, data, indices)
    written = complete(
        model,
        [_prompt_of(data, int(index)) for index in indices],
        pad_token_id=scoring.pad_token_id,
        max_new_tokens=scoring.max_new_tokens,
    )
    texts = [scoring.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]
    if data.references is None:
        raise AssertionError("answers are scored on examples with references")
    references = [data.references[int(index)] for index in indices]
    match, f1 = scoring.rules
    pairs = list(zip(texts, references, strict=True))
    return {
        **outcomes,
        "exact_match": np.array([match(text, right) for text, right in pairs]),
        "f1": np.array([f1(text, right) for text, right in pairs]),
    }


def _answer_metrics(outcomes: Outcomes) -> dict[str, float]:
    return {
        "f1": float(outcomes["f1"].mean()),
        "exact_match": float(outcomes["exact_match"].mean()),
        **token_metrics(outcomes),
    }


def _prompt_of(data: TokenizedTexts, index: int) -> np.ndarray:
    """The token ids of an example before those to be learned."""
    if data.learned is None:
        raise AssertionError("prompts are tokenized with what is learned of them")
    row = slice(data.offsets[index], data.offsets[index + 1])
    prompt: np.ndarray = data.flat[row][data.learned[row] == 0]
    return prompt


def complete(
    model: Any,
    prompts: Sequence[np.ndarray],
    *,
    pad_token_id: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """The most probable continuation of every prompt, token by token, without end and padding.

    Prompts are padded on the left: what is written follows them at once.
    """
    length = max(len(prompt) for prompt in prompts)
    ids = np.full((len(prompts), length), pad_token_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = prompt
        mask[row, length - len(prompt) :] = 1
    device = next(model.parameters()).device
    written: Tensor = model.generate(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=pad_token_id,
    )
    return [_until_end(row, model) for row in written[:, length:].tolist()]


def _until_end(ids: list[int], model: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    stops = {ends} if isinstance(ends, int) else set(ends or ())
    return ids[: next((i for i, token in enumerate(ids) if token in stops), len(ids))]
