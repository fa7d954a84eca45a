"""Classes as words that a causal model would write next."""

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from fedtt.data import LabeledTexts, collate
from fedtt.errors import ConfigError
from fedtt.federated.local.needed_logits import needed_logits
from fedtt.tasks import Task, label_words

NAMES = ("negative", "positive")


def make(tokenizer: Tokenizer, **changes: object) -> Task:
    options = {"prompt": "the {text} was", "words": ("bad", "good"), "label_names": NAMES}
    return label_words(tokenizer=tokenizer, pad_token_id=0, **(options | changes))  # type: ignore[arg-type]


def test_the_words_logits_at_the_prompts_end_are_the_classes(
    tokenizer: Tokenizer, llama: PreTrainedModel
) -> None:
    task = make(tokenizer)
    data = task.tokenize(
        LabeledTexts(texts=("film", "really great plot"), labels=(1, 0)), max_length=16
    )
    assert tokenizer.decode(data.input_ids(1)) == "the really great plot was"
    batch = collate(data, [0, 1], pad_token_id=0)
    assert task.class_logits is not None
    logits, seen = needed_logits(llama, batch, positions=task.positions)
    assert logits.shape[1] == 1  # the vocabulary at one token of each text
    scores = task.class_logits(logits, seen)
    words = [tokenizer.convert_tokens_to_ids(word) for word in ("bad", "good")]
    for row in range(2):  # each text alone, without padding
        ids = torch.tensor(data.input_ids(row)[None].astype(np.int64))
        torch.testing.assert_close(scores[row], llama(input_ids=ids).logits[0, -1, words])
    loss = torch.nn.functional.cross_entropy(scores, torch.tensor([1, 0]))
    torch.testing.assert_close(task.loss(logits, seen), loss)
    outcomes = task.judge(llama, data, np.array([0, 1]))
    assert outcomes["scores"].tolist() == scores.tolist()


def test_of_a_long_example_the_text_loses_its_end_and_the_prompt_stays(
    tokenizer: Tokenizer,
) -> None:
    task = make(tokenizer, prompt="{pair} {text} was")
    long = LabeledTexts(texts=("a film so fine", "a"), labels=(0, 1), pairs=("the", "the"))
    data = task.tokenize(long, max_length=4)
    assert tokenizer.decode(data.input_ids(0)) == "the a film was"
    assert tokenizer.decode(data.input_ids(1)) == "the a was"
    assert data.num_truncated == 1
    with pytest.raises(ConfigError, match="the prompt alone is longer"):
        task.tokenize(long, max_length=1)


@pytest.mark.parametrize("prompt", ["no place", "{text} {text}", "{text} was ", "{pair}"])
def test_a_prompt_says_where_the_text_goes(tokenizer: Tokenizer, prompt: str) -> None:
    with pytest.raises(ConfigError, match="does not say where the text goes"):
        make(tokenizer, prompt=prompt)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bad",), "every class needs one word"),
        (("bad film", "good"), "not one token"),
        (("bad", "delicious"), "'delicious': unknown"),
        (("good", "good"), "the same token"),
    ],
)
def test_bad_words(tokenizer: Tokenizer, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(tokenizer, words=words)
