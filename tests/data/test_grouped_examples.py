"""Groups (the answers of one question) stay whole wherever examples are divided."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.named_rows import write_task

from fedtt.data import (
    LabeledTexts,
    RawData,
    hand_out,
    iid,
    load_named,
    name_clients,
    sample_examples,
    split_clients,
    split_pool,
)
from fedtt.errors import DataError

SIZES = st.lists(st.integers(1, 5), min_size=4, max_size=12)


def grouped(sizes: list[int], *, client: str = "a") -> LabeledTexts:
    """Group g has ``sizes[g]`` examples; the same answers occur in many groups."""
    places = [(group, member) for group, size in enumerate(sizes) for member in range(size)]
    return LabeledTexts(
        texts=tuple(f"paragraph {group} of {client}" for group, _ in places),
        pairs=tuple(f"answer {member}" for _, member in places),
        labels=tuple((group + member) % 2 for group, member in places),
        groups=tuple(f"{client}{group}" for group, _ in places),
        targets=tuple(group + member / 8 for group, member in places),
    )


def raw_of(*clients: LabeledTexts, test: LabeledTexts | None = None) -> RawData:
    held = {f"client{i}": texts for i, texts in enumerate(clients)}
    return RawData(name="groups", label_names=("no", "yes"), texts_by_client=held, shared_test=test)


@given(sizes=SIZES.filter(lambda sizes: max(sizes) > 1), seed=st.integers(0, 20))
def test_no_split_cuts_a_group(sizes: list[int], seed: int) -> None:
    texts = grouped([*sizes, 2, 2, 2])  # enough groups of two classes that train has both
    try:
        (client,) = split_clients(raw_of(texts), seed=seed, validation=0.3, test=0.3).clients
    except DataError:
        return  # by chance one class in train
    whole = Counter(texts.groups)
    for split in (client.train, client.validation, client.test):
        assert all(count == whole[group] for group, count in Counter(split.groups).items())
        for text, group, target, label in zip(
            split.texts, split.groups or (), split.targets or (), split.labels, strict=True
        ):
            assert text == f"paragraph {group[1:]} of a"
            assert (int(target) + int(target % 1 * 8)) % 2 == label
    assert len(client) == len(texts)


@given(sizes=SIZES, count=st.integers(5, 30), seed=st.integers(0, 20))
def test_a_part_is_of_whole_groups(sizes: list[int], count: int, seed: int) -> None:
    raw = raw_of(grouped(sizes), grouped(sizes, client="b"))
    if count > 2 * sum(sizes):
        return
    part = sample_examples(raw, count, seed=seed)
    kept = [group for texts in part.texts_by_client.values() for group in texts.groups or ()]
    whole = Counter([*grouped(sizes).groups, *grouped(sizes, client="b").groups])  # type: ignore[misc]
    assert all(number == whole[group] for group, number in Counter(kept).items())
    assert count - max(sizes) < len(kept) <= count
    assert part.notes[-1].startswith(f"{len(kept)} of {2 * sum(sizes)} examples used, whole groups")
    assert part == sample_examples(raw, count, seed=seed)


def test_no_group_is_small_enough() -> None:
    with pytest.raises(DataError, match=r"no group of examples is as small(.|\n)*2 examples asked"):
        sample_examples(raw_of(grouped([3, 4, 5])), 2, seed=0)


def test_groups_and_targets_reach_the_clients() -> None:
    raw = raw_of(grouped([2] * 12), grouped([3] * 10, client="b"))
    pool = split_pool(raw, seed=1, validation=0.2, test=0.2)
    data = hand_out(pool, name_clients(iid(len(pool.train), clients=3, seed=0)))
    sets = [*(client.train for client in data.clients), *data.shared.values()]
    found = sorted(
        row
        for texts in sets
        for row in zip(texts.groups or (), texts.targets or (), texts.labels, strict=True)
    )
    expected = sorted(
        row
        for texts in raw.texts_by_client.values()
        for row in zip(texts.groups or (), texts.targets or (), texts.labels, strict=True)
    )
    assert found == expected
    for texts in data.shared.values():
        assert {*Counter(texts.groups).values()} <= {2, 3}


def test_of_training_groups_only_those_in_the_test_set_go() -> None:
    texts = grouped([2] * 20)
    # Two groups of the test set: one as in train, one that shares a single example with it.
    test = texts.select([0, 1, 2])
    data = split_clients(raw_of(texts, test=test), seed=0)
    left = {group for client in data.clients for group in client.train.groups or ()}
    left |= {group for client in data.clients for group in client.validation.groups or ()}
    assert left == {f"a{group}" for group in range(20)} - {"a0"}
    assert data.notes[0].startswith("2 of 40 examples left out")


def test_of_groups_the_repeated_ones_are_noted() -> None:
    assert split_clients(raw_of(grouped([2] * 20)), seed=0).notes == ()
    texts = grouped([2] * 20)
    doubled = LabeledTexts(
        texts=texts.texts + texts.texts[1::-1],  # the first group again, in the other order
        pairs=(texts.pairs or ()) + (texts.pairs or ())[1::-1],
        labels=texts.labels + texts.labels[1::-1],
        groups=(*(texts.groups or ()), "again", "again"),
    )
    (client,) = split_clients(raw_of(doubled), seed=0, validation=0.4, test=0.4).clients
    sides = [
        split
        for split in (client.train, client.validation, client.test)
        if {"a0", "again"} & set(split.groups or ())
    ]
    assert len(sides) == 1
    data = split_clients(raw_of(doubled), seed=0)
    assert [note[:50] for note in data.notes] == [
        "client0: 1 of 21 groups repeat another text of the"
    ]


def test_multirc_from_a_file_is_split_by_question(tmp_path: Path) -> None:
    raw = load_named("multirc", directory=write_task(tmp_path, "multirc"))
    assert sorted(np.unique(raw.texts_by_client["multirc"].groups)) == ["0.0", "0.1", "1.2"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["groups", "targets"])
def test_one_for_each_text(name: str) -> None:
    values = {name: ("1",) if name == "groups" else (1.0,)}
    with pytest.raises(DataError, match=rf"not as many {name} as texts\n  got: 2 texts and 1 "):
        LabeledTexts(texts=("a", "b"), labels=(0, 1), **values)  # type: ignore[arg-type]
