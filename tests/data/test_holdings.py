"""Clients as parts of one pool: the same examples as clients with their own, and no more memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.data import Held, LabeledTexts, Parts, Pool, TokenizedTexts, hand_out, hold, map_large
from fedtt.data.partition import iid, name_clients
from fedtt.data.tokens import join_rows


def tokenized(lengths: list[int]) -> TokenizedTexts:
    """Text i is ``lengths[i]`` tokens ``10 i, 10 i + 1, ...``, every third one cut."""
    rows = [[10 * i + j for j in range(length)] for i, length in enumerate(lengths)]
    texts = LabeledTexts(
        texts=tuple(map(str, rows)),
        labels=tuple(range(len(rows))),
        references=tuple((str(i),) for i in range(len(rows))),
        groups=tuple(f"g{i}" for i in range(len(rows))),
        targets=tuple(i / 2 for i in range(len(rows))),
    )
    return join_rows(
        rows,
        texts=texts,
        truncated=[i % 3 == 0 for i in range(len(rows))],
        token_types=[[i % 2] * len(row) for i, row in enumerate(rows)],
        learned=[[j % 2 for j in range(len(row))] for row in rows],
    )


@given(st.data())
def test_selected_texts_are_the_texts_there(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    ordered = data.draw(st.booleans())
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1)))
    if ordered:  # consecutive ones, which are not copied
        indices = list(range(min(indices, default=0), max(indices, default=-1) + 1))
    pool = tokenized(lengths)
    part = pool.select(np.array(indices, dtype=np.int64))
    assert len(part) == len(indices)
    assert part.offsets[0] == 0
    assert part.offsets.dtype == part.labels.dtype == np.int64
    for position, index in enumerate(indices):
        rows = [
            (texts.input_ids(i).tolist(), texts.labels[i], texts.truncated[i], i)
            for texts, i in ((part, position), (pool, index))
        ]
        assert rows[0][:3] == rows[1][:3]
        own = slice(*part.offsets[position : position + 2])
        there = slice(*pool.offsets[index : index + 2])
        for name in ("token_types", "learned"):
            assert getattr(part, name)[own].tolist() == getattr(pool, name)[there].tolist()
        for name in ("references", "groups", "targets"):
            assert getattr(part, name)[position] == getattr(pool, name)[index]


def test_consecutive_texts_are_not_copied() -> None:
    pool = tokenized([3, 1, 4, 2])
    assert np.shares_memory(pool.select(np.array([1, 2])).flat, pool.flat)
    assert not np.shares_memory(pool.select(np.array([1, 3])).flat, pool.flat)


def test_mapped_texts_are_the_same_and_not_in_memory() -> None:
    pool = tokenized([3, 1, 4, 2])
    mapped = map_large(pool, large=1)
    for name in ("flat", "token_types", "learned"):
        assert isinstance(getattr(mapped, name), np.memmap)
        np.testing.assert_array_equal(getattr(mapped, name), getattr(pool, name))
        with pytest.raises(ValueError, match="read-only"):
            getattr(mapped, name)[0] = 1
    assert mapped.select(np.array([2, 0])).input_ids(1).tolist() == [0, 1, 2]
    assert map_large(pool).flat is pool.flat  # small ones stay where they are


def test_parts_are_a_mapping_of_arrays() -> None:
    parts = Parts.of({"b": np.array([4, 1]), "a": np.array([], dtype=np.int64), "c": np.array([0])})
    assert list(parts) == ["b", "a", "c"]
    assert {name: part.tolist() for name, part in parts.items()} == {"b": [4, 1], "a": [], "c": [0]}
    assert parts.sizes.tolist() == [2, 0, 1]
    assert "d" not in parts
    with pytest.raises(KeyError):
        parts["d"]
    assert {n: p.tolist() for n, p in Parts.in_turn({"x": 2, "y": 1}).items()} == {
        "x": [0, 1],
        "y": [2],
    }


def test_held_texts_are_those_that_were_put_in() -> None:
    texts = {
        "a": LabeledTexts(texts=("one", "two"), labels=(0, 1)),
        "b": LabeledTexts(texts=(), labels=()),
        "c": LabeledTexts(texts=("three",), labels=(1,)),
    }
    assert hold(texts) == texts


def _memory_of_clients(count: int, pool: Pool) -> int:
    """Bytes that stay allocated for a federation of that many clients, two of them read."""
    tracemalloc.start()
    data = hand_out(pool, Parts.of(name_clients(iid(len(pool.train), clients=count, seed=0))))
    for name in data.client_ids[:2]:
        assert len(data.train[name]) == len(pool.train) // count
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used


@pytest.mark.slow
def test_a_hundred_thousand_clients_cost_little_more_than_ten() -> None:
    count = 200_000
    nothing = LabeledTexts(texts=(), labels=())
    pool = Pool(
        name="data",
        label_names=("no", "yes"),
        train=LabeledTexts(texts=("same",) * count, labels=(0, 1) * (count // 2)),
        owners=("",) * count,
        validation=nothing,
        test=nothing,
        notes=(),
    )
    few, many = _memory_of_clients(10, pool), _memory_of_clients(100_000, pool)
    # 100,000 names of 62 bytes, with their place in a tuple and in a dictionary: 15 MB at most.
    assert many - few < 16_000_000
    held = Held(pool.train, Parts.in_turn(dict.fromkeys(("x", "y"), count // 2)))
    assert held["y"].labels[:3] == (0, 1, 0)
