"""Loss, perplexity and completions of a causal model against transformers' own."""

import math

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from fedtt.data import LabeledTexts, collate
from fedtt.errors import ConfigError, DataError
from fedtt.federated.local.needed_logits import needed_logits
from fedtt.tasks import generation, language_modeling
from fedtt.tasks.writing import Writing, complete

SENTENCES = ("good plot", "the film was really great", "awful")


def texts(*sentences: str) -> LabeledTexts:
    return LabeledTexts(texts=sentences, labels=(0,) * len(sentences))


def test_every_token_after_the_first_and_the_end_is_learned(
    tokenizer: Tokenizer, llama: PreTrainedModel
) -> None:
    task = language_modeling(tokenizer=tokenizer, pad_token_id=0)
    data = task.tokenize(texts(*SENTENCES), max_length=16)
    assert [int(data.input_ids(i)[-1]) for i in range(3)] == [2, 2, 2]  # the end token
    batch = collate(data, [0, 1, 2], pad_token_id=0)
    loss = task.loss(*needed_logits(llama, batch, positions=task.positions))
    torch.testing.assert_close(loss, llama(**batch).loss)  # transformers' own loss
    # Alone and unpadded, text by text: 2 + 5 + 1 targets.
    nats = 0.0
    for sentence in SENTENCES:
        ids = torch.tensor([[*tokenizer(sentence)["input_ids"], 2]])
        nats += llama(input_ids=ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    assert loss.item() == pytest.approx(nats / 8, rel=1e-5)
    outcomes = task.judge(llama, data, np.array([2, 0, 1]))
    assert outcomes["tokens"].tolist() == [1, 2, 5]
    metrics = task.metrics(outcomes)
    assert next(iter(metrics)) == task.score.name == "perplexity"
    assert metrics["perplexity"] == pytest.approx(math.exp(nats / 8), rel=1e-5)


def test_only_the_completion_and_the_end_are_learned(
    tokenizer: Tokenizer, llama: PreTrainedModel
) -> None:
    task = generation(
        tokenizer=tokenizer, pad_token_id=0, chat=False, answers=None, max_new_tokens=4
    )
    examples = LabeledTexts(
        texts=("the film was", "so"), labels=(0, 0), pairs=("good", "really bad")
    )
    data = task.tokenize(examples, max_length=16)
    batch = collate(data, [0, 1], pad_token_id=0)
    good, really, bad = (tokenizer.convert_tokens_to_ids(w) for w in ("good", "really", "bad"))
    assert batch["labels"][0, :5].tolist() == [-100, -100, -100, good, 2]
    assert batch["labels"][1, :4].tolist() == [-100, really, bad, 2]
    assert task.judge(llama, data, np.array([0, 1]))["tokens"].tolist() == [2, 3]
    logits, seen = needed_logits(llama, batch, positions=task.positions)
    assert logits.shape[1] == 3  # of the longer completion; the prompts have no logits
    torch.testing.assert_close(task.loss(logits, seen), llama(**batch).loss)


def test_a_long_prompt_loses_its_beginning_and_is_counted(tokenizer: Tokenizer) -> None:
    task = generation(
        tokenizer=tokenizer, pad_token_id=0, chat=False, answers=None, max_new_tokens=4
    )
    examples = LabeledTexts(
        texts=("the film was so good", "so"), labels=(0, 0), pairs=("plot", "a a a a a a")
    )
    data = task.tokenize(examples, max_length=4)
    assert tokenizer.decode(data.input_ids(0)) == "so good plot </s>"
    assert tokenizer.decode(data.input_ids(1)) == "so a a a"  # of the prompt one token stays
    assert data.num_truncated == 2


def test_a_chat_is_written_by_the_chat_template(tokenizer: Tokenizer) -> None:
    task = generation(
        tokenizer=tokenizer, pad_token_id=0, chat=True, answers=None, max_new_tokens=4
    )
    chat = '[{"role": "the", "content": "film was"}]'
    data = task.tokenize(LabeledTexts(texts=(chat,), labels=(0,), pairs=("good",)), max_length=16)
    assert tokenizer.decode(data.input_ids(0)) == "the film was plot good </s>"
    assert data.learned is not None
    assert data.learned.tolist() == [0, 0, 0, 0, 1, 1]


def test_completing_in_a_batch_is_completing_one_by_one(llama: PreTrainedModel) -> None:
    prompts = [np.array([7]), np.array([9, 12, 15, 8]), np.array([20, 21])]
    writing = Writing(max_new_tokens=6, pad_token_id=0, stops=frozenset())
    together = complete(llama, prompts, writing=writing)
    alone = [complete(llama, [p], writing=writing)[0] for p in prompts]
    assert together == alone
    assert any(together)


def test_generated_answers_are_scored(tokenizer: Tokenizer, llama: PreTrainedModel) -> None:
    task = generation(
        tokenizer=tokenizer, pad_token_id=0, chat=False, answers="squad", max_new_tokens=3
    )
    prompts = ("the film was", "so")
    ids = [np.array(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    written = complete(
        llama, ids, writing=Writing(max_new_tokens=3, pad_token_id=0, stops=frozenset({2}))
    )
    right = tokenizer.decode(written[0], skip_special_tokens=True)
    examples = LabeledTexts(
        texts=prompts,
        labels=(0, 0),
        pairs=("good", "bad"),
        references=(("nothing", right), ("nothing",)),
    )
    data = task.tokenize(examples, max_length=16)
    outcomes = task.judge(llama, data, np.array([0, 1]))
    assert outcomes["exact_match"].tolist() == [1.0, 0.0]
    assert task.metrics(outcomes)["f1"] == pytest.approx(0.5)
    assert task.score.name == "f1"


def test_what_cannot_be_learned_is_refused(tokenizer: Tokenizer) -> None:
    task = language_modeling(tokenizer=tokenizer, pad_token_id=0)
    with pytest.raises(ConfigError, match="no token to predict"):
        task.tokenize(texts("good"), max_length=1)
    with pytest.raises(DataError, match="no tokens to learn"):
        task.tokenize(texts(" "), max_length=8)


def test_a_tokenizer_without_a_chat_template_has_no_chats(tokenizer: Tokenizer) -> None:
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        task = generation(
            tokenizer=tokenizer, pad_token_id=0, chat=True, answers=None, max_new_tokens=4
        )
        with pytest.raises(ConfigError, match="no chat template"):
            task.tokenize(LabeledTexts(texts=("[]",), labels=(0,), pairs=("a",)), max_length=8)
    finally:
        tokenizer.chat_template = template
