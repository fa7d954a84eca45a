"""Who gets which training examples: partitions with a chosen kind of skew.

Every function here is pure: class ids (or a number of examples) and a seed in, index arrays out.
Each example goes to exactly one client, the same seed gives the same partition, and every client
gets ``min_examples`` at least, or an error says why not and what would help. Indices are int64,
ascending, one array ``(n_k,)`` for each client.
"""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from fedtt.errors import ConfigError, DataError
from fedtt.seeds import derive_seed

Partition = tuple[np.ndarray, ...]

MAX_DRAWS = 100  # of the client sizes, before a size below min_examples is an error
TOLERANCE = 0.005  # of a label proportion, beyond what whole examples explain
MAX_ROWS = 12  # of a table in an error message
MAX_TABLE = 5 * 10**7  # clients x classes: 400 MB
MAX_ROWS_GIVEN = 2000  # clients of a table of proportions; solving for their sizes takes the square
EXACTNESS = 1e4  # how much more the class counts matter than equal client sizes


def iid(num_examples: int, *, clients: int, seed: int, min_examples: int = 1) -> Partition:
    """A random partition into clients of equal size, up to one example.

    Raises:
        DataError: there are fewer than ``min_examples`` for each client.
    """
    _check_not_more_clients(num_examples, clients)
    sizes = _equal_sizes(num_examples, clients)
    _check_sizes(sizes, min_examples, ways_out=("fewer clients", "a lower min_examples"))
    return _cut(_stream(seed, "iid").permutation(num_examples), sizes)


def dirichlet(
    labels: np.ndarray, *, clients: int, alpha: float, seed: int, min_examples: int = 1
) -> Partition:
    """Label skew: clients of equal size (up to one example) whose label proportions are random.

    Client after client, with ``left_c`` the share of class c among the examples not yet given
    out and C the number of classes among them::

        q ~ Dirichlet(alpha * C * left_1, ..., alpha * C * left_C)
        counts ~ Multinomial(size, q), as far as there are examples of the class

    so that a small ``alpha`` gives clients of nearly one class and a large one the proportions of
    the data. With balanced classes this is the symmetric Dirichlet(alpha), the law of a client's
    proportions also where each class is spread over many clients by a Dirichlet(alpha)
    (Yurochkin et al. 2019), but without that scheme's empty clients. Equal sizes as in Hsu et al.
    2019 (arXiv 1909.06335); the last clients take what is left there, and here as well, but
    ``left`` keeps what is left like the data. ``labels``: ``(n,)``.

    Raises:
        DataError: there are fewer than ``min_examples`` for each client.
    """
    _check_not_more_clients(len(labels), clients)
    sizes = _equal_sizes(len(labels), clients)
    _check_sizes(sizes, min_examples, ways_out=("fewer clients", "a lower min_examples"))
    stream = _stream(seed, "dirichlet")
    left = np.bincount(labels)
    _check_table(clients, len(left))
    counts = np.zeros((clients, len(left)), dtype=np.int64)
    for client, size in enumerate(sizes):
        share = left / left.sum()
        proportions = _sample_dirichlet(stream, alpha * np.count_nonzero(left) * share)
        counts[client] = _sample_counts(stream, int(size), proportions, left)
        left -= counts[client]
    return _deal(labels, counts, stream)


def quantity(
    num_examples: int, *, clients: int, alpha: float, seed: int, min_examples: int = 1
) -> Partition:
    """Quantity skew: random examples, client sizes ``num_examples * Dirichlet(alpha, ..., alpha)``.

    Sizes are drawn again, up to ``MAX_DRAWS`` times, until every client has ``min_examples``.

    Raises:
        DataError: no draw gave every client ``min_examples``.
    """
    ways_out = ("fewer clients", "a larger alpha", "a lower min_examples")
    _check_not_more_clients(num_examples, clients)
    _check_sizes(_equal_sizes(num_examples, clients), min_examples, ways_out=ways_out)
    stream = _stream(seed, "quantity")
    for _ in range(MAX_DRAWS):
        shares = _sample_dirichlet(stream, np.full(clients, alpha))
        sizes = _round_to_sum(num_examples * shares, num_examples)
        if sizes.min() >= min_examples:
            return _cut(stream.permutation(num_examples), sizes)
    _check_sizes(sizes, min_examples, ways_out=ways_out, note=f", in draw {MAX_DRAWS}")
    raise AssertionError("the last draw was too small, and is refused above")


def by_proportions(
    labels: np.ndarray,
    *,
    proportions: Sequence[Sequence[float]],
    seed: int,
    min_examples: int = 1,
    num_classes: int = 0,
) -> Partition:
    """Clients with given label proportions, one row each: ``(clients, classes)``, rows sum to 1.

    The client sizes are whatever uses every example: of all sizes s >= 0 with
    ``sum_k s_k * p_kc = n_c`` for every class c, those nearest to equal ones (non-negative least
    squares). Proportions hold up to whole examples, or to half a percent.

    There are ``num_classes`` classes at least, if the last of them have no example.

    Raises:
        ConfigError: the table has not one column for each class.
        DataError: no client sizes give these proportions and use every example, or a client gets
            fewer than ``min_examples``.
    """
    _check_not_more_clients(len(labels), len(proportions), most=MAX_ROWS_GIVEN)
    table = np.asarray(proportions, dtype=np.float64)
    class_counts = np.bincount(labels, minlength=num_classes)
    if table.shape[1] != len(class_counts):
        raise ConfigError(
            "the table of label proportions does not fit the classes",
            where="partition.proportions",
            got=f"{table.shape[1]} columns",
            expected=f"{len(class_counts)}, one for each class",
            fix="give every row one proportion for each class, in the order of data.label_names",
        )
    # Rounding takes less than one example of a class from a client.
    counts = _solve_counts(table, class_counts, smallest=min_examples + len(class_counts))
    if not _are_met(counts, table):
        counts = _solve_counts(table, class_counts, smallest=0)
    if not _are_met(counts, table):
        _raise_unmet(table, class_counts)
    ways_out = ("other proportions", "a lower min_examples")
    _check_sizes(counts.sum(axis=1), min_examples, ways_out=ways_out)
    return _deal(labels, counts, _stream(seed, "labels"))


def by_owner(owners: Sequence[str], *, min_examples: int = 1) -> dict[str, np.ndarray]:
    """Natural clients: owner -> indices of what it owns, owners sorted.

    Raises:
        DataError: an owner has fewer than ``min_examples``.
    """
    rows: dict[str, list[int]] = {owner: [] for owner in sorted(set(owners))}
    for row, owner in enumerate(owners):
        rows[owner].append(row)
    sizes = np.array([len(indices) for indices in rows.values()])
    ways_out = ("a lower min_examples", "a file without these rows")
    _check_sizes(sizes, min_examples, ways_out=ways_out, names=list(rows))
    return {owner: np.array(indices, dtype=np.int64) for owner, indices in rows.items()}


def name_clients(parts: Partition) -> dict[str, np.ndarray]:
    """``client-0000``, ``client-0001``, ... -> the parts, in their order; names sort as numbers."""
    names = client_names(len(parts))
    return dict(zip(names, parts, strict=True))


def client_names(count: int) -> list[str]:
    """The names of that many clients: at least four digits, all of the same length."""
    width = max(4, len(str(count - 1)))
    return [f"client-{index:0{width}}" for index in range(count)]


def _stream(seed: int, kind: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "partition", kind))


def _equal_sizes(num_examples: int, clients: int) -> np.ndarray:
    base, more = divmod(num_examples, clients)
    return np.array([base + (client < more) for client in range(clients)])


def _cut(order: np.ndarray, sizes: np.ndarray) -> Partition:
    return tuple(np.sort(part) for part in np.split(order, np.cumsum(sizes)[:-1]))


def _deal(labels: np.ndarray, counts: np.ndarray, stream: np.random.Generator) -> Partition:
    """Random examples of every class to every client, as many as ``counts`` (clients, classes)."""
    by_class = [
        np.split(stream.permutation(np.flatnonzero(labels == c)), np.cumsum(counts[:-1, c]))
        for c in range(counts.shape[1])
    ]
    return tuple(np.sort(np.concatenate(parts)) for parts in zip(*by_class, strict=True))


def _sample_dirichlet(stream: np.random.Generator, concentration: np.ndarray) -> np.ndarray:
    """One draw; also where the concentrations are so small that every gamma draw underflows.

    A gamma variable of shape a is one of shape a + 1 times U^(1/a): its logarithm is finite.
    A concentration of 0 gives a proportion of 0.
    """
    some = concentration > 0
    shape = concentration[some]
    logs = np.log(stream.gamma(shape + 1)) + np.log1p(-stream.random(shape.size)) / shape
    weights = np.zeros(concentration.size)
    weights[some] = np.exp(logs - logs.max())
    proportions: np.ndarray = weights / weights.sum()
    return proportions


def _sample_counts(
    stream: np.random.Generator, size: int, proportions: np.ndarray, left: np.ndarray
) -> np.ndarray:
    """``size`` examples by class with those proportions, never more than are ``left``."""
    counts = np.zeros_like(left)
    while counts.sum() < size:  # each turn but the last one uses up a class
        weights = np.where(counts < left, proportions, 0.0)
        if weights.sum() == 0:
            weights = (left - counts).astype(np.float64)
        drawn = stream.multinomial(size - counts.sum(), weights / weights.sum())
        counts = np.minimum(counts + drawn, left)
    return counts


def _round_to_sum(values: np.ndarray, total: int) -> np.ndarray:
    """Integers within one of ``values`` that sum to ``total``, as the values do: the largest
    remainders are rounded up.
    """
    rounded: np.ndarray = np.floor(values).astype(np.int64)
    missing = total - int(rounded.sum())
    rounded[np.argsort(rounded - values, kind="stable")[:missing]] += 1
    return rounded


def _solve_counts(table: np.ndarray, class_counts: np.ndarray, *, smallest: int) -> np.ndarray:
    """Examples of every client and class, ``(clients, classes)``: all there are of the class.

    The client sizes behind them, ``smallest`` at least, come nearest to the proportions of
    ``table``; of several that do, nearest to equal ones.
    """
    from scipy.optimize import nnls  # costs a moment that other commands need not wait for

    clients, total = len(table), class_counts.sum()
    left_side = np.vstack([EXACTNESS * table.T, np.eye(clients)])
    right_side = np.concatenate([EXACTNESS * class_counts / total, np.full(clients, 1 / clients)])
    # In shares of all examples, and of those what is above the smallest size.
    floor = np.full(clients, min(smallest / total, 1 / clients))
    above, _ = nnls(left_side, right_side - left_side @ floor)
    columns = _use_up((floor + above)[:, None] * table, class_counts).T
    rounded = [_round_to_sum(c, int(n)) for c, n in zip(columns, class_counts, strict=True)]
    return np.stack(rounded, axis=1)


def _use_up(wanted: np.ndarray, class_counts: np.ndarray) -> np.ndarray:
    """``wanted`` (clients, classes) with every class scaled to its count.

    A class that nobody wants goes to everyone in equal parts.
    """
    in_class = wanted.sum(axis=0)
    shares = np.where(in_class > 0, wanted / np.where(in_class > 0, in_class, 1), 1 / len(wanted))
    scaled: np.ndarray = shares * class_counts
    return scaled


def _are_met(counts: np.ndarray, table: np.ndarray) -> bool:
    """Whether every client that gets examples gets them in its proportions."""
    sizes = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Every count is rounded by less than one, and a proportion of C counts by less than C - 1.
    slack = np.maximum(TOLERANCE, (table.shape[1] - 1) / sizes)
    met = np.abs(counts / sizes - table) <= slack
    return bool((met.all(axis=1) | (counts.sum(axis=1) == 0)).all())


def _raise_unmet(table: np.ndarray, class_counts: np.ndarray) -> NoReturn:
    # The nearest to equal sizes with the given proportions, in relative entropy.
    nearest = _use_up(table, class_counts)
    rows = [_row(row / row.sum()) for row in nearest[:MAX_ROWS]]
    if len(table) > MAX_ROWS:
        rows.append("...")
    raise DataError(
        "no client sizes give these label proportions and use every example",
        where="partition.proportions",
        got=f"proportions that do not mix to {_row(class_counts / class_counts.sum())}, the data's",
        expected=f"for example, and nearest to these: [{', '.join(rows)}]",
        fix="for every class, give some client more of it than the data has and another one less",
    )


def _row(shares: np.ndarray) -> str:
    return f"[{', '.join(f'{share:.3f}' for share in shares)}]"


def _check_table(clients: int, classes: int) -> None:
    if clients * classes > MAX_TABLE:
        raise DataError(
            "the table of clients and classes is too large",
            where="partition.clients",
            got=f"{clients:,} clients for {classes:,} classes",
            expected=f"at most {MAX_TABLE:,} of both multiplied",
            fix="use fewer clients, or see whether label_column is the one with the classes",
        )


def _check_not_more_clients(num_examples: int, clients: int, *, most: int | None = None) -> None:
    """Before there is an array of them all, which a typing error may make larger than memory."""
    if most is not None and clients > most:
        raise DataError(
            "there are too many clients to solve for their sizes",
            where="partition.proportions",
            got=f"{clients:,} rows",
            expected=f"at most {most:,}",
            fix="use fewer rows, or kind = 'dirichlet'",
        )
    if clients > num_examples:
        raise DataError(
            "a client would have too few training examples",
            where="partition.clients",
            got=f"{clients:,} clients for {num_examples:,} examples",
            expected="no more clients than training examples",
            fix="use fewer clients",
        )


def _check_sizes(
    sizes: np.ndarray,
    min_examples: int,
    *,
    ways_out: Sequence[str],
    names: Sequence[str] | None = None,
    note: str = "",
) -> None:
    client = int(sizes.argmin())
    if sizes[client] >= max(1, min_examples):
        return
    name = (names or client_names(len(sizes)))[client]
    small = int(np.count_nonzero(sizes < min_examples))
    others = f" ({small - 1} more clients are like it)" if small > 1 else ""
    raise DataError(
        "a client would have too few training examples",
        where=f"partition, client {name!r}",
        got=f"{sizes[client]} of {int(sizes.sum()):,} for {len(sizes):,} clients{note}{others}",
        expected=f"min_examples = {min_examples} or more",
        fix=f"use {' or '.join([', '.join(ways_out[:-1]), ways_out[-1]])}",
    )
