import itertools
import re
import time
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.data.partition import (
    Partition,
    by_owner,
    by_proportions,
    dirichlet,
    iid,
    name_clients,
    quantity,
)
from fedtt.errors import ConfigError, DataError

Partitioner = Callable[..., Partition]

# What each partition makes of class ids: the same call for all of them.
KINDS: dict[str, Partitioner] = {
    "iid": lambda labels, *, clients, seed: iid(len(labels), clients=clients, seed=seed),
    "dirichlet 0.01": lambda labels, **keys: dirichlet(labels, alpha=0.01, **keys),
    "dirichlet 1": lambda labels, **keys: dirichlet(labels, alpha=1.0, **keys),
    "dirichlet 1e6": lambda labels, **keys: dirichlet(labels, alpha=1e6, **keys),
    "quantity": lambda labels, **keys: quantity(
        len(labels), alpha=20.0, clients=keys["clients"], seed=keys["seed"]
    ),
    "labels": lambda labels, *, clients, seed: by_proportions(
        labels, proportions=[shares_of(labels)] * clients, seed=seed
    ),
}
LABELS = st.lists(st.integers(0, 3), min_size=40, max_size=200).map(np.array)


def shares_of(labels: np.ndarray) -> list[float]:
    return (np.bincount(labels) / len(labels)).tolist()


def balanced(num_examples: int, classes: int = 2) -> np.ndarray:
    return np.arange(num_examples) % classes


def client_shares(labels: np.ndarray, parts: Partition, *, label: int = 1) -> np.ndarray:
    """The share of one class at every client: (clients,)."""
    return np.array([np.mean(labels[part] == label) for part in parts])


def together(parts: Sequence[np.ndarray]) -> list[int]:
    return sorted(itertools.chain.from_iterable(part.tolist() for part in parts))


@pytest.mark.parametrize("kind", KINDS)
@given(labels=LABELS, clients=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_every_example_goes_to_exactly_one_client(
    kind: str, labels: np.ndarray, clients: int, seed: int
) -> None:
    parts = KINDS[kind](labels, clients=clients, seed=seed)
    assert len(parts) == clients
    assert together(parts) == list(range(len(labels)))
    for part in parts:
        assert part.dtype == np.int64
        assert len(part) >= 1
        assert (np.diff(part) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_nothing_else(kind: str) -> None:
    labels = balanced(300, 3)
    first = KINDS[kind](labels, clients=4, seed=5)
    np.random.seed(3)  # the global state must not matter
    again = KINDS[kind](labels, clients=4, seed=5)
    other = KINDS[kind](labels, clients=4, seed=6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@given(num_examples=st.integers(20, 300), clients=st.integers(1, 20), alpha=st.floats(1e-3, 1e3))
def test_sizes_are_equal_up_to_one_example(num_examples: int, clients: int, alpha: float) -> None:
    for parts in (
        iid(num_examples, clients=clients, seed=0),
        dirichlet(balanced(num_examples), clients=clients, alpha=alpha, seed=0),
    ):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_iid_clients_are_random_samples() -> None:
    labels = balanced(40_000)
    shares = client_shares(labels, iid(len(labels), clients=400, seed=1))
    # 100 examples a client, half of them of class 1: variance .25 / 100, over 400 clients known
    # to within 2 / sqrt(2 * 400) = 7 % of it; four of them.
    assert np.var(shares) == pytest.approx(0.0025, rel=0.28)
    # A block of the file is at no client as a block.
    first = iid(1000, clients=10, seed=0)[0]
    assert 20 < np.sum(first < 500) < 80


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 5.0])
def test_dirichlet_shares_have_the_variance_of_the_law(alpha: float) -> None:
    labels = balanced(120_000)
    variances, means = [], []
    for seed in range(4):
        shares = client_shares(labels, dirichlet(labels, clients=600, alpha=alpha, seed=seed))
        variances.append(np.var(shares))
        means.append(np.mean(shares))
    # q ~ Beta(a, a): variance v = 1 / (4 (2a + 1)); 200 draws of q add E[q (1 - q)] / 200.
    law = 1 / (4 * (2 * alpha + 1))
    assert np.mean(variances) == pytest.approx(law + (0.25 - law) / 200, rel=0.1)
    assert np.mean(means) == pytest.approx(0.5)  # equal sizes: the mean is the data's share


def test_a_large_alpha_is_nearly_iid_and_a_small_one_nearly_one_class() -> None:
    labels = np.array([0] * 7000 + [1] * 2000 + [2] * 1000)
    wide = dirichlet(labels, clients=20, alpha=1e5, seed=0)
    for label, share in enumerate([0.7, 0.2, 0.1]):
        # 500 examples a client: standard deviation sqrt(.7 * .3 / 500) = .02; the last clients
        # get what is left of the others' luck, about 1.3 times as far off.
        assert np.abs(client_shares(labels, wide, label=label) - share).max() < 0.1
    narrow = dirichlet(labels, clients=20, alpha=1e-3, seed=0)
    largest = [np.bincount(labels[part]).max() / len(part) for part in narrow]
    assert sum(share == 1.0 for share in largest) >= 17  # a class that runs out mixes a client
    counts = np.bincount([int(np.bincount(labels[part]).argmax()) for part in narrow], minlength=3)
    assert np.abs(counts - [14, 4, 2]).max() <= 1


def test_a_tiny_alpha_does_not_underflow() -> None:
    parts = dirichlet(balanced(100), clients=5, alpha=1e-300, seed=0)
    assert together(parts) == list(range(100))


def test_quantity_sizes_have_the_variance_of_the_law() -> None:
    sizes = np.array(
        [[len(p) for p in quantity(10_000, clients=5, alpha=2.0, seed=s)] for s in range(400)]
    )
    # One of 5 symmetric Dirichlet(2) shares: mean 1/5, variance (1/5)(4/5) / (5 * 2 + 1).
    assert sizes.mean(axis=0) / 10_000 == pytest.approx(np.full(5, 0.2), abs=0.03)
    assert np.var(sizes / 10_000) == pytest.approx(0.16 / 11, rel=0.15)


def test_quantity_leaves_the_labels_to_chance() -> None:
    labels = balanced(10_000)
    parts = quantity(10_000, clients=5, alpha=2.0, seed=0)
    assert client_shares(labels, parts) == pytest.approx(np.full(5, 0.5), abs=0.1)


def test_quantity_draws_again_until_everyone_has_enough() -> None:
    draws = [quantity(100, clients=4, alpha=0.5, seed=seed, min_examples=10) for seed in range(30)]
    assert all(min(len(part) for part in parts) >= 10 for parts in draws)


def test_given_proportions_hold_and_every_example_is_used() -> None:
    labels = np.array([0] * 440 + [1] * 560)
    table = [[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]]
    parts = by_proportions(labels, proportions=table, seed=0)
    assert together(parts) == list(range(1000))
    shares = client_shares(labels, parts)
    assert shares == pytest.approx([0.9, 0.1, 0.5], abs=0.004)
    # Nearest to equal sizes s1 + s2 + s3 = 1000 with .9 s1 + .1 s2 + .5 s3 = 560: s = 1000/3 + d,
    # .4 d1 - .4 d2 = 60 with the least d: d = (75, -75, 0).
    assert [len(part) for part in parts] == pytest.approx([408, 258, 333], abs=1.5)


@given(
    sizes=st.lists(st.integers(20, 90), min_size=1, max_size=6),
    data=st.data(),
)
def test_proportions_that_can_hold_do(sizes: list[int], data: st.DataObject) -> None:
    rows = [data.draw(st.lists(st.integers(1, 20), min_size=3, max_size=3)) for _ in sizes]
    table = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    counts = np.rint(table * np.array(sizes)[:, None] * 20).astype(int)  # a partition like that
    table = counts / counts.sum(axis=1, keepdims=True)
    labels = np.repeat([0, 1, 2], counts.sum(axis=0))
    parts = by_proportions(labels, proportions=table.tolist(), seed=0, min_examples=50)
    assert together(parts) == list(range(len(labels)))
    assert min(map(len, parts)) >= 50  # as 20 * 20 - rounding is possible for everyone
    for part, row in zip(parts, table, strict=True):
        reached = np.bincount(labels[part], minlength=3) / len(part)
        assert np.abs(reached - row).max() <= max(0.005, 2 / len(part)) + 1e-9


def test_proportions_that_cannot_hold_are_refused_with_the_nearest() -> None:
    labels = np.array([0] * 500 + [1] * 500)
    with pytest.raises(DataError) as caught:
        by_proportions(labels, proportions=[[0.9, 0.1], [0.8, 0.2]], seed=0)
    message = str(caught.value)
    assert "no client sizes give these label proportions and use every example" in message
    assert "do not mix to [0.500, 0.500], the data's" in message
    nearest = [float(x) for x in re.findall(r"\d\.\d+", message.split("nearest to these: ")[1])]
    # Class 0 is wanted .9 : .8 and class 1 .1 : .2, so client 0 would get 500 * 9 / 17 = 265 and
    # 500 / 3 = 167 examples.
    assert nearest == pytest.approx([0.614, 0.386, 0.414, 0.586], abs=1e-3)
    parts = by_proportions(labels, proportions=[nearest[:2], nearest[2:]], seed=0)  # can be had
    assert client_shares(labels, parts, label=0) == pytest.approx(nearest[::2], abs=0.01)


def test_a_class_that_nobody_wants_is_not_lost() -> None:
    with pytest.raises(DataError, match=r"do not mix to \[0.400, 0.400, 0.200\], the data's"):
        by_proportions(
            np.repeat([0, 1, 2], [40, 40, 20]), proportions=[[0.5, 0.5, 0.0]] * 2, seed=0
        )


def test_a_long_table_is_cut_in_the_message() -> None:
    with pytest.raises(DataError) as caught:
        by_proportions(balanced(1000), proportions=[[0.9, 0.1]] * 50, seed=0)
    assert ", ...]" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_table_of_another_width_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not fit the classes(.|\n)*2 columns\n  exp.*3"):
        by_proportions(balanced(30, 3), proportions=[[0.5, 0.5]], seed=0)
    with pytest.raises(ConfigError, match=r"2 columns\n  expected: 3"):
        by_proportions(balanced(30), proportions=[[0.5, 0.5]], seed=0, num_classes=3)
    parts = by_proportions(balanced(30), proportions=[[0.5, 0.5, 0.0]], seed=0, num_classes=3)
    assert together(parts) == list(range(30))


def test_a_client_that_the_table_leaves_out_is_named() -> None:
    with pytest.raises(DataError, match=r"client 'client-0000'\n  got: 0 of 100 for 2 clients"):
        by_proportions(balanced(100), proportions=[[1.0, 0.0], [0.5, 0.5]], seed=0)


@pytest.mark.parametrize(
    ("call", "got", "fix"),
    [
        (
            lambda: iid(7, clients=4, seed=0, min_examples=2),
            "client 'client-0003'\n  got: 1 of 7 for 4 clients",
            "fewer clients or a lower min_examples",
        ),
        (
            lambda: dirichlet(balanced(3), clients=5, alpha=1.0, seed=0),
            "partition.clients\n  got: 5 clients for 3 examples",
            "use fewer clients",
        ),
        (
            lambda: quantity(100, clients=20, alpha=0.01, seed=0),
            "of 100 for 20 clients, in draw 100 (",
            "fewer clients, a larger alpha or a lower min_examples",
        ),
        (
            lambda: by_owner(["b", "a", "b"], min_examples=2),
            "client 'a'\n  got: 1 of 3 for 2 clients",
            "a lower min_examples or a file without these rows",
        ),
    ],
)
def test_too_few_examples_are_refused_with_the_way_out(
    call: Callable[[], object], got: str, fix: str
) -> None:
    with pytest.raises(DataError, match="a client would have too few training examples") as caught:
        call()
    assert got in str(caught.value)
    assert fix in str(caught.value)


@given(st.lists(st.sampled_from("dbca"), min_size=1))
def test_owners_get_what_is_theirs(owners: list[str]) -> None:
    parts = by_owner(owners)
    assert list(parts) == sorted(set(owners))
    assert together(list(parts.values())) == list(range(len(owners)))
    assert all({owners[i] for i in part} == {owner} for owner, part in parts.items())


def test_names_sort_as_numbers() -> None:
    parts = tuple(np.array([i]) for i in range(3))
    assert list(name_clients(parts)) == ["client-0000", "client-0001", "client-0002"]
    many = list(name_clients(tuple(np.array([i]) for i in range(10_001))))
    assert (many[7], many[-1]) == ("client-00007", "client-10000")
    assert many == sorted(many)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "quantity"])
def test_a_thousand_clients_take_no_time(kind: str) -> None:
    labels = (np.arange(67_349) % 9 > 3).astype(np.int64)
    started = time.process_time()
    parts = KINDS[kind](labels, clients=1000, seed=0)
    assert time.process_time() - started < 2
    assert together(parts) == list(range(67_349))


@pytest.mark.parametrize("kind", ["iid", "dirichlet", "quantity"])
def test_a_million_million_clients_are_refused_before_any_are_made(kind: str) -> None:
    dealt = {
        "iid": lambda: iid(100, clients=10**12, seed=0),
        "dirichlet": lambda: dirichlet(np.arange(100) % 2, clients=10**12, alpha=1.0, seed=0),
        "quantity": lambda: quantity(100, clients=10**12, alpha=1.0, seed=0),
    }
    with pytest.raises(DataError, match="1,000,000,000,000 clients for 100 examples"):
        dealt[kind]()


def test_absurd_sizes_are_refused_before_there_is_memory_for_them() -> None:
    labels = np.arange(100_000)
    tracemalloc.start()
    for refused in (
        lambda: iid(100, clients=10**12, seed=0),
        lambda: quantity(100, clients=10**12, alpha=1.0, seed=0),
        lambda: dirichlet(labels, clients=10**12, alpha=1.0, seed=0),
        lambda: dirichlet(labels, clients=50_000, alpha=1.0, seed=0),  # x 100,000 classes
        lambda: iid(100, clients=2, seed=0, min_examples=10**12),
        lambda: by_proportions(labels % 2, proportions=[(0.5, 0.5)] * 50_000, seed=0),
        lambda: by_proportions(labels[:3] % 2, proportions=[(0.5, 0.5)] * 4, seed=0),
    ):
        with pytest.raises(DataError, match=r"(.|\n)*expected(.|\n)*fix: use"):
            refused()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * 2**20
