"""All clients' examples as one pool: a part of it, and its split with shared evaluation sets."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedtt.data.examples import FederatedData, LabeledTexts, RawData, join_texts, share
from fedtt.data.holdings import Held, Parts
from fedtt.data.split import split_clients, text_keys
from fedtt.errors import DataError
from fedtt.seeds import derive_seed

POOL = "pool"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A data set split once, for clients that share its evaluation sets.

    ``owners`` names, for every training example, the client that held it in the source.
    """

    name: str
    label_names: tuple[str, ...]
    train: LabeledTexts
    owners: tuple[str, ...]
    validation: LabeledTexts
    test: LabeledTexts
    notes: tuple[str, ...]

    @property
    def labels(self) -> np.ndarray:
        """Class ids of the training examples, int64 ``(n,)``."""
        return np.array(self.train.labels, dtype=np.int64)


def sample_examples(raw: RawData, count: int, *, seed: int) -> RawData:
    """A random part of ``count`` examples of all clients together; the test set stays whole.

    The part depends on the seed and the examples; clients keep the order of theirs. Groups stay
    whole: of grouped examples these are as many groups as fit into ``count`` examples.

    Raises:
        DataError: there are not so many examples, or not one group fits.
    """
    examples, _ = _concatenate(raw.texts_by_client)
    total = len(examples)
    if count > total:
        raise DataError(
            "there are fewer examples than asked for",
            where=f"{raw.name}, data.examples",
            got=f"{count:,} asked for, {total:,} there",
            expected=f"at most {total:,}",
            fix="leave data.examples out to use all of them",
        )
    stream = random.Random(derive_seed(seed, "examples"))
    if examples.groups is None:
        chosen, unit = stream.sample(range(total), count), "a random part"
    else:
        chosen, unit = sample_groups(examples.groups, count, stream), "whole groups, at random"
    if not chosen:
        raise DataError(
            "no group of examples is as small as what is asked for",
            where=f"{raw.name}, data.examples",
            got=f"{count:,} examples asked for",
            expected="at least one whole group, such as all answers of one question",
            fix="raise data.examples",
        )
    kept = set(chosen)
    part, start = {}, 0
    for client_id, texts in sorted(raw.texts_by_client.items()):
        part[client_id] = texts.select(i for i in range(len(texts)) if start + i in kept)
        start += len(texts)
    note = f"{len(chosen):,} of {total:,} examples used, {unit} (data.examples)."
    return replace(raw, texts_by_client=part, notes=(*raw.notes, note))


def leave_out_small(raw: RawData, least: int) -> RawData:
    """Without the clients that hold fewer than ``least`` examples, and a note of how many.

    Raises:
        DataError: nobody holds so many.
    """
    held = raw.texts_by_client
    kept = {client_id: texts for client_id, texts in held.items() if len(texts) >= least}
    if not kept:
        largest = max(map(len, held.values()), default=0)
        raise DataError(
            "no client has enough examples",
            where=f"{raw.name}, data.min_client_examples = {least}",
            got=f"{len(held):,} clients, the largest with {largest}",
            fix="lower data.min_client_examples",
        )
    absent = len(held) - len(kept)
    lost = sum(map(len, held.values())) - sum(map(len, kept.values()))
    note = f"{absent:,} of {len(held):,} clients left out, who hold fewer than {least} examples "
    note += f"({lost:,} examples in all; data.min_client_examples)."
    return replace(raw, texts_by_client=kept, notes=(*raw.notes, note) if absent else raw.notes)


def sample_groups(groups: Sequence[str], count: int, stream: random.Random) -> list[int]:
    """Positions of groups drawn one after the other until the next does not fit."""
    members: dict[str, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    chosen: list[int] = []
    for group in stream.sample(list(members), len(members)):
        if len(chosen) + len(members[group]) > count:
            break
        chosen += members[group]
    return chosen


def split_pool(raw: RawData, *, seed: int, validation: float = 0.1, test: float = 0.15) -> Pool:
    """All clients' examples together, split as ``split_clients`` splits a single client.

    Neither who held what nor the order of the clients matters for the split.

    Raises:
        ConfigError: a fraction is negative, or train would be left with nothing.
        DataError: a split would be empty, or train have one class only.
    """
    examples, owners = _concatenate(raw.texts_by_client)
    data = split_clients(
        replace(raw, texts_by_client={POOL: examples}), seed=seed, validation=validation, test=test
    )
    # All copies of a text are on one side, so the text says whether an example is in train.
    trained = set(text_keys(data.train.pool))
    keys = text_keys(examples)
    return Pool(
        name=data.name,
        label_names=data.label_names,
        train=data.train.pool,
        owners=tuple(owner for owner, key in zip(owners, keys, strict=True) if key in trained),
        validation=data.validation.pool,
        test=data.test.pool,
        notes=data.notes,
    )


def hand_out(pool: Pool, parts: Mapping[str, np.ndarray]) -> FederatedData:
    """The clients that hold those training examples of the pool and share the rest of it.

    ``parts`` maps client -> indices of its training examples, int64 ``(n_k,)``. However many
    clients there are, the examples are there once.
    """
    dealt = Parts.of(parts)
    return FederatedData(
        name=pool.name,
        label_names=pool.label_names,
        train=Held(pool.train, dealt),
        validation=share(pool.validation, beside=dealt),
        test=share(pool.test, beside=dealt),
        notes=pool.notes,
    )


def _concatenate(
    texts_by_client: Mapping[str, LabeledTexts],
) -> tuple[LabeledTexts, Sequence[str]]:
    """All clients' examples end to end, clients in the order of their ids; the owner of each."""
    held = dict(sorted(texts_by_client.items()))
    owners = [client_id for client_id, texts in held.items() for _ in texts.texts]
    return join_texts(held.values()), owners
