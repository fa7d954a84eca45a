"""Split every client into train, validation and test, with no text on two sides."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fedtt.data.examples import ClientData, FederatedData, LabeledTexts, RawData, federate
from fedtt.errors import ConfigError, DataError
from fedtt.seeds import derive_seed

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SHOWN = 5  # clients that a note names


@dataclass(frozen=True, kw_only=True)
class _Fractions:
    validation: float
    test: float


def split_clients(
    raw: RawData,
    *,
    seed: int,
    validation: float = 0.1,
    test: float = 0.15,
    whole: bool = True,
) -> FederatedData:
    """Every example in exactly one split of its client; the same text always in the same split.

    Two texts are the same when they agree in composed Unicode form, after case folding and
    collapsing white space (of a pair, both; of a group, all). Where ``raw`` brings a test set, it
    is the one that all clients share: no client gives any to test, and what also occurs in the test
    set is left out. A text that several clients hold goes where ``derive_seed(seed, "split",
    "shared", text)`` sends it, so all its holders agree. The texts of one client alone are ranked
    by ``derive_seed(seed, "split", client_id, text)`` and fill up its splits, lowest ranks to test,
    then validation, then train, until the fractions of the client's distinct texts hold up to
    rounding. A client with at least three distinct texts gets one in every split wherever the texts
    it shares allow it.

    The result depends neither on the order of the clients (they come out sorted by id) nor, for
    the assignment, on the order of the rows; within a split, examples keep their order.

    A client may have one class only in train, with a note; all together may not, if ``raw`` is
    the ``whole`` data and not one site's.

    Raises:
        ConfigError: a fraction is negative, or train would be left with nothing.
        DataError: a client with no examples or an empty split; one class in train at everybody.
    """
    fractions = _check_fractions(validation, 0.0 if raw.shared_test is not None else test)
    if not raw.texts_by_client:
        raise DataError(
            "the data has no client",
            where=raw.name,
            got="0 clients",
            expected="at least one client with examples",
            fix="check the path and the contents of the data source",
        )
    held, left_out = _without_test_texts(raw)
    keys = {client_id: text_keys(texts) for client_id, texts in sorted(held.items())}
    shared = _assign_shared(keys, fractions, seed=seed)
    clients = []
    for client_id, client_keys in keys.items():
        texts = held[client_id]
        where = f"{raw.name}, client {client_id!r}"
        if len(texts) == 0:
            tested = len(raw.texts_by_client[client_id])
            raise DataError(
                "a client has no examples",
                where=where,
                got=f"0 examples, without the {tested:,} whose texts the test set has too"
                if tested
                else "0 examples",
                expected="at least two classes and a few examples of each",
                fix="give the client examples, or take it out of the data; where data.examples "
                "draws some of all, draw more",
            )
        sides = _assign_client(client_id, client_keys, shared, fractions, seed=seed)
        client = _divide(client_id, texts, [sides[key] for key in client_keys])
        _check_client(client, fractions, raw, where=where)
        clients.append(client)
    one_class = _check_classes(clients, raw, whole=whole)
    return federate(
        clients,
        name=raw.name,
        label_names=raw.label_names,
        notes=(
            *raw.notes,
            *left_out,
            *_notes(held, keys, shared),
            *_contradictions(held, keys),
            *one_class,
        ),
        shared_test=raw.shared_test,
    )


def normalize_text(text: str) -> str:
    """The text in composed Unicode form (NFC), folded to one case, every run of white space one
    space.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def text_keys(texts: LabeledTexts) -> tuple[str, ...]:
    """For every example what it is compared by: its text, or both texts of a pair, normalized.

    The examples of a group have one key, a digest of all their texts in any order: a group is
    never cut in two.
    """
    # Of an article with many questions there is one copy, and one normalized.
    normal = {text: normalize_text(text) for text in {*texts.texts, *(texts.pairs or ())}}
    # A normalized text has no line break, so that two different pairs never give one key.
    sides = zip(texts.texts, *([texts.pairs] if texts.pairs else []), strict=True)
    examples = [tuple(normal[side] for side in example) for example in sides]
    if texts.groups is None:
        return tuple("\n".join(example) for example in examples)
    members: dict[str, list[tuple[str, ...]]] = {}
    for group, example in zip(texts.groups, examples, strict=True):
        members.setdefault(group, []).append(example)
    digests = {group: _digest(sorted(own)) for group, own in members.items()}
    return tuple(digests[group] for group in texts.groups)


def _digest(examples: Sequence[tuple[str, ...]]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        for side in example:
            digest.update(side.encode() + b"\n")
        digest.update(b"\n")
    return digest.hexdigest()


def _without_test_texts(raw: RawData) -> tuple[Mapping[str, LabeledTexts], list[str]]:
    """Every client's examples that do not occur in the shared test set, and a note on the rest."""
    if raw.shared_test is None:
        return raw.texts_by_client, []
    tested = set(text_keys(raw.shared_test))
    held = {
        client_id: texts.select(i for i, key in enumerate(text_keys(texts)) if key not in tested)
        for client_id, texts in raw.texts_by_client.items()
    }
    total = sum(map(len, raw.texts_by_client.values()))
    left_out = total - sum(map(len, held.values()))
    note = f"{left_out:,} of {total:,} examples left out: their texts occur in the test set too."
    return held, [note] if left_out else []


def _check_fractions(validation: float, test: float) -> _Fractions:
    # Written so that a NaN fails every comparison and is refused as well.
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ConfigError(
            "the split fractions do not fit",
            where="split",
            got=f"validation {validation}, test {test}",
            expected="both 0 or more, together less than 1 (the rest is train)",
            fix="use for example validation 0.1 and test 0.15",
        )
    return _Fractions(validation=validation, test=test)


def _assign_shared(
    keys: Mapping[str, tuple[str, ...]], fractions: _Fractions, *, seed: int
) -> dict[str, str]:
    """The split of every text that more than one client holds, by a hash of seed and text."""
    holders: dict[str, int] = {}
    for client_keys in keys.values():
        for key in set(client_keys):
            holders[key] = holders.get(key, 0) + 1
    sides = {}
    for key in sorted(key for key, count in holders.items() if count > 1):
        draw = derive_seed(seed, "split", "shared", key) / 2**63  # uniform in [0, 1)
        if draw < fractions.test:
            sides[key] = TEST
        elif draw < fractions.test + fractions.validation:
            sides[key] = VALIDATION
        else:
            sides[key] = TRAIN
    return sides


def _assign_client(
    client_id: str,
    client_keys: tuple[str, ...],
    shared: Mapping[str, str],
    fractions: _Fractions,
    *,
    seed: int,
) -> dict[str, str]:
    """The split of every distinct text of one client: shared ones as given, its own by rank."""
    distinct = set(client_keys)
    sides = {key: shared[key] for key in distinct if key in shared}
    own = sorted(
        distinct - sides.keys(),
        key=lambda key: (derive_seed(seed, "split", client_id, key), key),
    )
    wanted = _split_sizes(len(distinct), fractions)
    taken = list(sides.values())
    # What the shared texts already fill is not filled again; train takes what is left over.
    missing = {side: max(0, size - taken.count(side)) for side, size in wanted.items()}
    reserved = 1 if missing[VALIDATION] and VALIDATION not in taken else 0
    num_test = min(missing[TEST], max(0, len(own) - reserved))
    num_validation = min(missing[VALIDATION], len(own) - num_test)
    for rank, key in enumerate(own):
        if rank < num_test:
            sides[key] = TEST
        elif rank < num_test + num_validation:
            sides[key] = VALIDATION
        else:
            sides[key] = TRAIN
    return sides


def _split_sizes(count: int, fractions: _Fractions) -> dict[str, int]:
    """How many of ``count`` distinct texts each split should hold; they sum to ``count``.

    test = round(count * test), validation likewise, train the rest. From three texts on, train
    and every split with a fraction above 0 get at least one.
    """
    test = _round_half_up(count, fractions.test)
    validation = _round_half_up(count, fractions.validation)
    if count >= 3:
        test = max(test, int(fractions.test > 0))
        validation = max(validation, int(fractions.validation > 0))
        while test + validation >= count:
            test, validation = (
                (test - 1, validation) if test > validation else (test, validation - 1)
            )
    return {TEST: test, VALIDATION: validation, TRAIN: count - test - validation}


def _round_half_up(count: int, fraction: float) -> int:
    # 0.15 means 15/100 here, not the nearest binary number: exact halves round as written.
    return int(count * Fraction(str(fraction)) + Fraction(1, 2))


def _divide(client_id: str, texts: LabeledTexts, sides: list[str]) -> ClientData:
    def side_of(wanted: str) -> LabeledTexts:
        return texts.select(i for i, side in enumerate(sides) if side == wanted)

    return ClientData(
        client_id=client_id,
        train=side_of(TRAIN),
        validation=side_of(VALIDATION),
        test=side_of(TEST),
    )


def _check_client(client: ClientData, fractions: _Fractions, raw: RawData, *, where: str) -> None:
    counts = (
        f"{len(client.train)} train, {len(client.validation)} validation, {len(client.test)} test"
    )
    wanted = {
        TRAIN: (client.train, True),
        VALIDATION: (client.validation, fractions.validation > 0),
        TEST: (client.test, fractions.test > 0),
    }
    remain = any(len(texts) > len(client) for texts in raw.texts_by_client.values())
    leave_out = f"set data.min_client_examples = {len(client) + 1}, " if remain else ""
    empty = [side for side, (texts, needed) in wanted.items() if needed and len(texts) == 0]
    if empty:
        raise DataError(
            f"a client has an empty split: {', '.join(empty)}",
            where=where,
            got=f"{len(client)} examples: {counts}",
            expected="at least one example in every split",
            fix=f"give the client more distinct texts, {leave_out}or join it with another",
        )


def _check_classes(clients: Sequence[ClientData], raw: RawData, *, whole: bool) -> list[str]:
    """A note on the clients with one class in train; all together need two."""
    if len(raw.label_names) < 2:  # of plain texts there is one class and no choice
        return []
    single = {
        client.client_id: raw.label_names[client.train.labels[0]]
        for client in clients
        if len(set(client.train.labels)) == 1
    }
    if whole and len(set().union(*(client.train.labels for client in clients))) < 2:
        raise DataError(
            "the data has one class only in train",
            where=raw.name,
            got=f"{sum(len(client.train) for client in clients):,} train examples of "
            f"{len(clients):,} clients, all {next(iter(single.values()))!r}",
            expected="at least two classes",
            fix="add examples of another class, or name another label column",
        )
    shown = [f"{client_id} ({name})" for client_id, name in list(single.items())[:SHOWN]]
    shown += ["..."] if len(single) > SHOWN else []
    note = (
        f"{len(single):,} of {len(clients):,} clients have training examples of one class only: "
        f"{', '.join(shown)}. They take part; measured on one class, a model that always answers "
        "with it is perfect."
    )
    return [note] if single else []


def _contradictions(
    held: Mapping[str, LabeledTexts], keys: Mapping[str, tuple[str, ...]]
) -> list[str]:
    """A note on texts that stand with several classes; groups have theirs within."""
    labels: dict[str, set[int]] = {}
    for client_id, texts in held.items():
        if texts.groups is None:
            for key, label in zip(keys[client_id], texts.labels, strict=True):
                labels.setdefault(key, set()).add(label)
    several = sum(len(classes) > 1 for classes in labels.values())
    note = f"{several:,} of {len(labels):,} texts stand with more than one class."
    return [note] if several else []


def _notes(
    held: Mapping[str, LabeledTexts],
    keys: Mapping[str, tuple[str, ...]],
    shared: Mapping[str, str],
) -> list[str]:
    notes = []
    for client_id, client_keys in keys.items():
        groups = held[client_id].groups
        units = client_keys if groups is None else sorted(set(groups))
        copies = len(units) - len(set(client_keys))
        if copies:
            notes.append(
                f"{client_id}: {copies:,} of {len(units):,} "
                f"{'examples' if groups is None else 'groups'} repeat another text "
                "of the client; they are kept, all copies of a text in one split."
            )
    nul = sum("\0" in text for own in held.values() for text in (*own.texts, *(own.pairs or ())))
    if nul:
        notes.append(f"{nul:,} texts hold a NUL character, which is no text: is the file whole?")
    if shared:
        notes.append(
            f"{len(shared):,} texts are held by more than one client; each is in the same split "
            "at all of its holders."
        )
    return notes
