"""Which examples make up which batch: seeded passes for training, sorted lengths for evaluation."""

from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np

from fedtt.errors import ConfigError, DataError
from fedtt.seeds import derive_seed

WINDOW = 8  # batches that share out their examples by length; more would make batches less random


def step_batches(
    lengths: Sequence[int] | np.ndarray,
    *,
    batch_size: int,
    steps: int,
    seed: int,
    shared_seed: int | None = None,
) -> Iterator[np.ndarray]:
    """Exactly ``steps`` batches of example indices, walking one seeded permutation after another.

    Pass i is the permutation of ``derive_seed(seed, "pass", i)``. Every example occurs exactly
    once in a pass: when ``batch_size`` does not divide their number, the last batch of the
    pass is smaller. Each batch is an int64 array of shape ``(b,)``, 1 <= b <= batch_size.

    ``lengths`` are the examples' lengths in tokens. Of every ``WINDOW`` consecutive batches of the
    permutation, examples of similar length go into the same batch, so that little is padding; the
    batches of a window come in random order. That order is drawn from ``shared_seed`` (left out:
    ``seed``): clients that share it read their short batches, and their long ones, in the same
    steps, so that little is padding where they train together.

    Raises:
        DataError: there is no example.
        ConfigError: ``batch_size`` is below 1 or ``steps`` below 0.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    _check_counts(len(sizes), batch_size)
    if steps < 0:
        raise ConfigError(
            "the number of steps is negative",
            where="step_batches",
            got=steps,
            expected="0 or more",
            fix="set the number of local steps to 1 or more",
        )
    # The checks above run at the call; a generator function would only run them at first use.
    shared = seed if shared_seed is None else shared_seed
    return islice(_walk_passes(sizes, batch_size, seed, shared), steps)


def _walk_passes(
    lengths: np.ndarray, batch_size: int, seed: int, shared_seed: int
) -> Iterator[np.ndarray]:
    for index in count():
        generator = np.random.default_rng(derive_seed(seed, "pass", index))
        turns = np.random.default_rng(derive_seed(shared_seed, "lengths", index))
        order = generator.permutation(len(lengths))
        whole = len(order) - len(order) % batch_size
        for start in range(0, whole, WINDOW * batch_size):
            window = order[start : min(start + WINDOW * batch_size, whole)]
            ranked = window[np.argsort(lengths[window], kind="stable")].reshape(-1, batch_size)
            # As many draws for every window, so that clients of any size keep in step.
            yield from ranked[np.argsort(turns.random(WINDOW)[: len(ranked)])]
        if whole < len(order):
            yield order[whole:]


def epoch_steps(num_examples: int, batch_size: int, epochs: int) -> int:
    """``epochs * ceil(num_examples / batch_size)``: the steps of that many whole passes.

    Raises:
        DataError: there is no example.
        ConfigError: ``batch_size`` is below 1 or ``epochs`` below 0.
    """
    _check_counts(num_examples, batch_size)
    if epochs < 0:
        raise ConfigError(
            "the number of epochs is negative",
            where="epoch_steps",
            got=epochs,
            expected="0 or more",
            fix="set the number of local epochs to 1 or more",
        )
    return epochs * -(-num_examples // batch_size)


def evaluation_batches(
    lengths: Sequence[int] | np.ndarray, batch_size: int
) -> Iterator[np.ndarray]:
    """Every index exactly once, in batches of similar length (shortest first) to pad little.

    ``lengths`` are the examples' lengths in tokens. The order is stable: equal lengths keep
    their order. No example, no batch.

    Raises:
        ConfigError: ``batch_size`` is below 1.
    """
    _check_counts(1, batch_size)
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def _check_counts(num_examples: int, batch_size: int) -> None:
    if num_examples < 1:
        raise DataError(
            "there is no example to make batches of",
            where="batches",
            got=f"{num_examples} examples",
            expected="at least one",
            fix="leave this client out, or give it examples",
        )
    if batch_size < 1:
        raise ConfigError(
            "the batch size is too small",
            where="batches",
            got=batch_size,
            expected="1 or more",
            fix="set the batch size to 1 or more, such as 16",
        )
