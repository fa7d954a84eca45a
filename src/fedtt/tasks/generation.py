"""Prompts and completions: only the completion is learned; answers may be generated and scored."""

from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from fedtt.data import TokenizedTexts, stop_tokens, tokenize_completions
from fedtt.data.chats import ChatTokenizer
from fedtt.metrics import Score
from fedtt.tasks.answer_scores import RULES, Rule
from fedtt.tasks.inputs import TaskInputs
from fedtt.tasks.language_modeling import (
    PERPLEXITY,
    before_targets,
    judge_tokens,
    token_loss,
    token_metrics,
)
from fedtt.tasks.task import Outcomes, Task
from fedtt.tasks.writing import Writing, complete

MAX_NEW_TOKENS = 32
F1 = Score(name="f1", higher_is_better=True)


@dataclass(frozen=True, kw_only=True)
class _Scoring:
    """How answers are written and scored."""

    tokenizer: Any
    rules: tuple[Rule, Rule]
    writing: Writing


def build(inputs: TaskInputs) -> Task:
    """The task, as ``[task]`` describes it."""
    return generation(
        tokenizer=inputs.tokenizer,
        pad_token_id=inputs.pad_token_id,
        chat=inputs.chat,
        answers=inputs.answers,
        max_new_tokens=inputs.max_new_tokens or MAX_NEW_TOKENS,
        today=inputs.today,
    )


def generation(
    *,
    tokenizer: ChatTokenizer,
    pad_token_id: int,
    chat: bool,
    answers: str | None,
    max_new_tokens: int,
    today: date | None = None,
) -> Task:
    """The task of a causal language model that completes prompts.

    With ``chat`` prompts are conversations; ``today`` is the date that their template writes.

    ``answers`` names the rule by which generated answers are scored (a key of
    :data:`fedtt.tasks.answer_scores.RULES`): then every judged example is also completed greedily,
    at most ``max_new_tokens`` long, and compared with its references. None: perplexity alone.
    """
    judge = partial(judge_tokens, pad_token_id)
    if answers is not None:
        scoring = _Scoring(
            tokenizer=tokenizer,
            rules=RULES[answers],
            writing=Writing(
                max_new_tokens=max_new_tokens,
                pad_token_id=pad_token_id,
                stops=frozenset(stop_tokens(tokenizer, chat=chat, today=today)),
            ),
        )
        judge = partial(_judge_answers, scoring)
    return Task(
        model_class="causal",
        score=PERPLEXITY if answers is None else F1,
        tokenize=partial(tokenize_completions, tokenizer=tokenizer, chat=chat, today=today),
        loss=token_loss,
        judge=judge,
        metrics=token_metrics if answers is None else _answer_metrics,
        max_new_tokens=0 if answers is None else max_new_tokens,
        positions=before_targets,
    )


def _judge_answers(
    scoring: _Scoring, model: nn.Module, data: TokenizedTexts, indices: np.ndarray
) -> Outcomes:
    outcomes = judge_tokens(scoring.writing.pad_token_id, model, data, indices)
    written = complete(
        model,
        [_prompt_of(data, int(index)) for index in indices],
        writing=scoring.writing,
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
