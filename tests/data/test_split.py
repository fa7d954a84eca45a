import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtt.data import ClientData, FederatedData, LabeledTexts, RawData, split_clients
from fedtt.data.split import text_keys
from fedtt.errors import ConfigError, DataError

RELAXED = settings(deadline=None)  # a busy machine is not a failure
SIDES = ("train", "validation", "test")
SPELLINGS = ("{}", "  {}", "{} ", "{}\n", "\t{}\u00a0")


def raw_data(clients: dict[str, LabeledTexts]) -> RawData:
    return RawData(name="data", label_names=("no", "yes"), texts_by_client=clients)


def own_texts(name: str, count: int) -> LabeledTexts:
    return LabeledTexts(
        texts=tuple(f"{name} says {i}" for i in range(count)),
        labels=tuple(i % 2 for i in range(count)),
    )


def folded(text: str) -> str:
    """The same text for a reader: one case, one space between words."""
    return re.sub(r"\s+", " ", text).strip(" ").casefold()


def side_of(data: FederatedData) -> dict[tuple[str, str], set[str]]:
    """The splits in which each client holds each distinct text."""
    found: dict[tuple[str, str], set[str]] = {}
    for client in data.clients:
        for side in SIDES:
            for text in getattr(client, side).texts:
                key = (client.client_id, folded(text))
                found.setdefault(key, set()).add(side)
    return found


def counted(texts: LabeledTexts) -> Counter[tuple[str, int]]:
    return Counter(zip(texts.texts, texts.labels, strict=True))


@st.composite
def federations(draw: st.DrawFn) -> RawData:
    """2 to 4 clients of unequal size with copies, spellings of one text, and shared texts."""
    clients = {}
    for index in range(draw(st.integers(2, 4))):
        # Enough texts of both labels that train never loses a class, whatever is drawn below.
        rows = [(f"Client {index} text {i}", i % 2) for i in range(30 + 7 * index)]
        extra = st.tuples(
            st.sampled_from([f"Client {index} Text {i}" for i in range(9)] + ["both A", "both B"]),
            st.sampled_from(SPELLINGS),
            st.booleans(),
            st.integers(0, 1),
        )
        for text, spelling, upper, label in draw(st.lists(extra, max_size=12)):
            rows.append((spelling.format(text.upper() if upper else text), label))
        order = draw(st.permutations(rows))
        clients[f"client-{index}"] = LabeledTexts(
            texts=tuple(text for text, _ in order), labels=tuple(label for _, label in order)
        )
    return raw_data(clients)


@RELAXED
@given(raw=federations(), seed=st.integers(0, 2**40))
def test_every_example_lands_in_exactly_one_split(raw: RawData, seed: int) -> None:
    data = split_clients(raw, seed=seed)
    assert {client.client_id for client in data.clients} == set(raw.texts_by_client)
    for client in data.clients:
        together = sum((counted(getattr(client, side)) for side in SIDES), Counter())
        assert together == counted(raw.texts_by_client[client.client_id])


@RELAXED
@given(raw=federations(), seed=st.integers(0, 2**40))
def test_no_text_lies_in_two_splits_of_any_clients(raw: RawData, seed: int) -> None:
    sides: dict[str, set[str]] = {}
    for (_, text), found in side_of(split_clients(raw, seed=seed)).items():
        sides.setdefault(text, set()).update(found)
    assert all(len(found) == 1 for found in sides.values())


@RELAXED
@given(raw=federations(), seed=st.integers(0, 2**40), data=st.data())
def test_order_of_clients_and_rows_changes_no_assignment(
    raw: RawData, seed: int, data: st.DataObject
) -> None:
    expected = split_clients(raw, seed=seed)
    ids = data.draw(st.permutations(list(raw.texts_by_client)))
    reordered = raw_data({client_id: raw.texts_by_client[client_id] for client_id in ids})
    assert split_clients(reordered, seed=seed) == expected
    turned = {
        client_id: texts.select(reversed(range(len(texts))))
        for client_id, texts in raw.texts_by_client.items()
    }
    assert side_of(split_clients(raw_data(turned), seed=seed)) == side_of(expected)


@RELAXED
@given(raw=federations(), seed=st.integers(0, 2**40))
def test_examples_keep_their_order_within_a_split(raw: RawData, seed: int) -> None:
    for client in split_clients(raw, seed=seed).clients:
        rows = iter(zip(*_columns(raw.texts_by_client[client.client_id]), strict=True))
        for example in zip(*_columns(client.train), strict=True):
            assert any(row == example for row in rows)  # a subsequence: rows is used up in order


def _columns(texts: LabeledTexts) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return texts.texts, texts.labels


@RELAXED
@given(
    count=st.integers(10, 300),
    seed=st.integers(0, 2**40),
    test=st.integers(1, 45),
    validation=st.integers(1, 45),
)
def test_fractions_hold_up_to_rounding(count: int, seed: int, test: int, validation: int) -> None:
    raw = raw_data({"a": mixed(count)})  # every text twice
    (client,) = split_clients(raw, seed=seed, test=test / 100, validation=validation / 100).clients
    sizes = {side: len(getattr(client, side)) / 2 for side in SIDES}
    assert min(sizes.values()) >= 1
    assert abs(sizes["test"] - count * test / 100) <= 1
    assert abs(sizes["validation"] - count * validation / 100) <= 1


def test_fractions_are_exact_where_they_divide() -> None:
    # 200 * 0.15 = 30, 200 * 0.1 = 20, 200 - 30 - 20 = 150
    (client,) = split_clients(raw_data({"a": own_texts("a", 200)}), seed=1).clients
    assert [len(client.train), len(client.validation), len(client.test)] == [150, 20, 30]


@RELAXED
@given(seed=st.integers(0, 2**40), shared=st.integers(1, 60))
def test_own_texts_make_up_for_shared_ones(seed: int, shared: int) -> None:
    both = own_texts("both", shared)
    clients = {}
    for name, count in {"a": 60, "b": 150}.items():
        own = own_texts(name, count)
        clients[name] = LabeledTexts(texts=own.texts + both.texts, labels=own.labels + both.labels)
    for client in split_clients(raw_data(clients), seed=seed).clients:
        size = len(client)
        held_in_common = sum(text in both.texts for text in client.test.texts)
        assert abs(len(client.test) - 0.15 * size) <= 1 or len(client.test) == held_in_common
        assert len(client.validation) >= 1


@pytest.mark.parametrize(("own", "shared"), [(2, 9), (3, 1), (3, 20), (6, 4)])
def test_a_few_own_texts_are_enough_for_every_split(own: int, shared: int) -> None:
    # (2, 9): where all nine shared texts fall to train, test wants 2 = round(11 * .15) texts and
    # validation 1, of two that are left.
    both, mine = mixed(shared), own_texts("mine", own)
    texts = mine.texts * 2 + both.texts
    raw = raw_data(
        {
            "a": LabeledTexts(texts=texts, labels=(0,) * own + (1,) * own + both.labels),
            "b": LabeledTexts(
                texts=own_texts("b", 20).texts + both.texts, labels=(0, 1) * 10 + both.labels
            ),
        }
    )
    for seed in range(100):
        client = split_clients(raw, seed=seed).clients[0]
        assert min(len(client.train), len(client.validation), len(client.test)) >= 1


def test_shared_texts_follow_the_fractions_and_the_seed() -> None:
    both = own_texts("both", 2000)
    raw = raw_data({"a": both, "b": both, "c": both.select(range(999))})
    first, second, third = split_clients(raw, seed=0, validation=0.1, test=0.3).clients
    assert first.test == second.test
    assert set(third.test.texts) <= set(first.test.texts)
    # Binomial(2000, .3): standard deviation sqrt(2000 * .3 * .7) = 20.5; five of them.
    assert abs(len(first.test) - 600) < 103
    assert abs(len(first.validation) - 200) < 68  # sqrt(2000 * .1 * .9) = 13.4
    other = split_clients(raw, seed=1, validation=0.1, test=0.3).clients[0]
    # Independent seeds agree on about 600 * .3 = 180 of the test texts.
    assert abs(len(set(other.test.texts) & set(first.test.texts)) - 180) < 70


def test_every_text_is_as_likely_to_be_tested_as_any_other() -> None:
    raw = raw_data({"a": own_texts("a", 20)})
    hits: Counter[str] = Counter()
    for seed in range(1000):
        hits.update(split_clients(raw, seed=seed).clients[0].test.texts)
    # 3 of 20 texts each time, so each text Binomial(1000, .15): 150 +- 11.3; five of them.
    assert sum(hits.values()) == 3000
    assert all(abs(hits[f"a says {i}"] - 150) < 57 for i in range(20))


def test_clients_and_seeds_get_different_splits() -> None:
    same = own_texts("x", 60)
    one = split_clients(raw_data({"a": same}), seed=3).clients[0]
    assert one.test != split_clients(raw_data({"a": same}), seed=4).clients[0].test
    assert one.test != split_clients(raw_data({"b": same}), seed=3).clients[0].test
    assert one == split_clients(raw_data({"a": same}), seed=3).clients[0]


def test_small_clients_still_get_every_split() -> None:
    for count in range(3, 12):
        (client,) = split_clients(raw_data({"a": mixed(count)}), seed=0).clients
        assert min(len(client.train), len(client.validation), len(client.test)) >= 1


def mixed(count: int) -> LabeledTexts:
    """Both labels on every text, so that no split can lack a class."""
    texts = own_texts("m", count)
    return LabeledTexts(texts=texts.texts * 2, labels=tuple([0] * count + [1] * count))


def test_repeats_are_told() -> None:
    texts = own_texts("a", 20)
    copied = LabeledTexts(
        texts=(*texts.texts, "A  SAYS 3", "in both"), labels=(*texts.labels, 0, 1)
    )
    other = LabeledTexts(texts=(*own_texts("b", 12).texts, "In Both"), labels=(0, 1) * 6 + (1,))
    raw = RawData(
        name="data",
        label_names=("no", "yes"),
        texts_by_client={"a": copied, "b": other},
        notes=("from before",),
    )
    assert split_clients(raw, seed=0).notes == (
        "from before",
        "a: 1 of 22 examples repeat another text of the client; they are kept, all copies of a "
        "text in one split.",
        "1 texts are held by more than one client; each is in the same split at all of its "
        "holders.",
        "1 of 33 texts stand with more than one class.",
    )


def test_a_fraction_of_zero_leaves_its_split_empty() -> None:
    raw = raw_data({"a": own_texts("a", 40)})
    client: ClientData = split_clients(raw, seed=0, validation=0.0, test=0.5).clients[0]
    assert [len(client.train), len(client.validation), len(client.test)] == [20, 0, 20]


@pytest.mark.parametrize(
    ("validation", "test"), [(-0.1, 0.2), (0.2, -0.1), (0.5, 0.5), (float("nan"), 0.1)]
)
def test_fractions_that_leave_no_train_are_refused(validation: float, test: float) -> None:
    message = (
        f"split fractions do not fit\n  where: split\n  got: validation {validation}, test {test}"
    )
    with pytest.raises(ConfigError, match=message):
        split_clients(raw_data({"a": own_texts("a", 40)}), seed=0, validation=validation, test=test)


def test_bad_clients_are_named_with_their_counts() -> None:
    good = own_texts("good", 40)
    empty = LabeledTexts(texts=(), labels=())
    with pytest.raises(DataError, match=r"client has no examples\n  where: data, client 'bad'"):
        split_clients(raw_data({"good": good, "bad": empty}), seed=0)
    tiny = own_texts("bad", 2)
    with pytest.raises(
        DataError,
        match=r"client has an empty split: validation, test\n  where: data, client 'bad'\n"
        r"  got: 2 examples: 2 train, 0 validation, 0 test",
    ) as caught:
        split_clients(raw_data({"good": good, "bad": tiny}), seed=0)
    assert "to 0" not in str(caught.value)  # which no configuration may say
    with pytest.raises(DataError, match=r"the data has no client\n  where: data"):
        split_clients(raw_data({}), seed=0)


def test_a_text_of_two_unicode_forms_is_on_one_side() -> None:
    """Letters and marks apart (NFD), as file names of a Mac have them, are the same text."""
    same = [(f"caf\u00e9 {i}", f"Cafe\u0301  {i}") for i in range(40)]
    texts = LabeledTexts(texts=tuple(t for pair in same for t in pair), labels=(0, 1) * 40)
    raw = RawData(name="data", label_names=("no", "yes"), texts_by_client={"a": texts})
    (client,) = split_clients(raw, seed=0, validation=0.2, test=0.2).clients
    for split in (client.train, client.validation, client.test):
        assert len(split) == 2 * len(set(text_keys(split))) > 0


def test_a_client_of_one_example_is_pointed_to_the_way_out() -> None:
    many = LabeledTexts(texts=tuple(f"text {i}" for i in range(20)), labels=(0, 1) * 10)
    with pytest.raises(DataError, match=r"client 'tiny'(.|\n)*data.min_client_examples = 2"):
        split_clients(raw_data({"a": many, "tiny": many.select([3])}), seed=0)
    with pytest.raises(DataError) as caught:
        split_clients(raw_data({"tiny": many.select([3])}), seed=0)
    assert "min_client_examples" not in str(caught.value)


def test_leaving_out_is_no_way_out_where_nobody_would_remain() -> None:
    many = LabeledTexts(texts=tuple(f"text {i}" for i in range(20)), labels=(0, 1) * 10)
    with pytest.raises(DataError, match="empty split") as caught:
        split_clients(raw_data({"a": many.select([0]), "b": many.select([1])}), seed=0)
    assert "min_client_examples" not in str(caught.value)


def test_a_client_of_one_class_takes_part_with_a_note() -> None:
    """A hospital that has no healthy patients."""
    good = own_texts("good", 40)
    one_class = LabeledTexts(texts=own_texts("bad", 20).texts, labels=(1,) * 20)
    data = split_clients(raw_data({"good": good, "bad": one_class}), seed=0)
    assert set(data.train["bad"].labels) == {1}
    (note,) = data.notes
    assert note.startswith("1 of 2 clients have training examples of one class only: bad (yes). ")
    assert split_clients(raw_data({"good": good}), seed=0).notes == ()


def test_a_note_names_some_of_many_clients() -> None:
    rows = {f"c{i}": own_texts(f"c{i}", 20) for i in range(9)}
    ones = {name: LabeledTexts(texts=own.texts, labels=(1,) * 20) for name, own in rows.items()}
    data = split_clients(raw_data({**ones, "d": own_texts("d", 20)}), seed=0)
    assert "9 of 10 clients" in data.notes[-1]
    assert "c4 (yes), .... They" in data.notes[-1]


def test_everybody_together_needs_two_classes_and_a_site_alone_does_not() -> None:
    one_class = LabeledTexts(texts=own_texts("a", 20).texts, labels=(1,) * 20)
    raw = raw_data({"a": one_class})
    message = r"one class only in train\n  where: data\n  got: 15 train .* of 1 clients, all 'yes'"
    with pytest.raises(DataError, match=message):
        split_clients(raw, seed=0)
    assert split_clients(raw, seed=0, whole=False).client_ids == ("a",)


def test_texts_with_a_nul_character_are_counted() -> None:
    texts = own_texts("a", 40)
    held = LabeledTexts(texts=("nul \0", *texts.texts[1:]), labels=texts.labels)
    (note,) = split_clients(raw_data({"a": held}), seed=0).notes
    assert note == "1 texts hold a NUL character, which is no text: is the file whole?"


def test_a_client_whose_texts_are_all_in_the_test_set_is_told_so() -> None:
    texts = own_texts("a", 12)
    raw = replace(raw_data({"a": texts, "b": own_texts("b", 12)}), shared_test=texts)
    with pytest.raises(DataError, match="without the 12 whose texts the test set has too"):
        split_clients(raw, seed=0)
