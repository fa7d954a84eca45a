"""All clients' examples as one pool: a part of it, and its split with shared evaluation sets."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedtt.data.split import split_clients, text_keys
from fedtt.data.types import ClientData, FederatedData, LabeledTexts, RawData
from fedtt.errors import DataError
from fedtt.seeds import derive_seed

POOL = "pool"
_NOTHING = LabeledTexts(texts=(), labels=())


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

    The part depends on the seed and the examples; clients keep the order of theirs.

    Raises:
        DataError: there are not so many examples.
    """
    total = sum(map(len, raw.texts_by_client.values()))
    if count > total:
        raise DataError(
            "there are fewer examples than asked for",
            where=f"{raw.name}, data.examples",
            got=f"{count:,} asked for, {total:,} there",
            expected=f"at most {total:,}",
            fix="leave data.examples out to use all of them",
        )
    stream = random.Random(derive_seed(seed, "examples"))
    chosen = np.array(sorted(stream.sample(range(total), count)))
    part, start = {}, 0
    for client_id, texts in sorted(raw.texts_by_client.items()):
        end = start + len(texts)
        part[client_id] = texts.select(chosen[(chosen >= start) & (chosen < end)] - start)
        start = end
    note = f"{count:,} of {total:,} examples used, a random part (data.examples)."
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
    (pooled,) = data.clients
    # All copies of a text are on one side, so the text says whether an example is in train.
    trained = set(text_keys(pooled.train))
    keys = text_keys(examples)
    return Pool(
        name=data.name,
        label_names=data.label_names,
        train=pooled.train,
        owners=tuple(owner for owner, key in zip(owners, keys, strict=True) if key in trained),
        validation=pooled.validation,
        test=pooled.test if data.shared_test is None else data.shared_test,
        notes=data.notes,
    )


def hand_out(pool: Pool, parts: Mapping[str, np.ndarray]) -> FederatedData:
    """The clients that hold those training examples of the pool and share the rest of it.

    ``parts`` maps client -> indices of its training examples, int64 ``(n_k,)``.
    """
    return FederatedData(
        name=pool.name,
        label_names=pool.label_names,
        clients=tuple(
            ClientData(
                client_id=client_id,
                train=pool.train.select(map(int, indices)),
                validation=_NOTHING,
                test=_NOTHING,
            )
            for client_id, indices in parts.items()
        ),
        notes=pool.notes,
        shared_validation=pool.validation,
        shared_test=pool.test,
    )


def _concatenate(
    texts_by_client: Mapping[str, LabeledTexts],
) -> tuple[LabeledTexts, Sequence[str]]:
    """All clients' examples end to end, clients in the order of their ids; the owner of each."""
    clients = sorted(texts_by_client.items())
    paired = any(texts.pairs is not None for _, texts in clients)
    scored = any(texts.references is not None for _, texts in clients)
    examples = LabeledTexts(
        texts=tuple(text for _, texts in clients for text in texts.texts),
        labels=tuple(label for _, texts in clients for label in texts.labels),
        pairs=tuple(p for _, texts in clients for p in texts.pairs or ()) if paired else None,
        references=tuple(r for _, texts in clients for r in texts.references or ())
        if scored
        else None,
    )
    return examples, [client_id for client_id, texts in clients for _ in texts.texts]
