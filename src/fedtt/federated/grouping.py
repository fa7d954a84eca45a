"""Which clients of a cohort share a forward in a step."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Rows and padded length, in tokens, of one client's batch."""

    rows: int
    length: int


@dataclass(frozen=True, kw_only=True)
class ForwardLimits:
    """What decides who shares a forward.

    ``max_tokens`` bounds rows x length of a forward, padding included (one client's own batch is
    never split). ``padding_worth`` is what a forward of its own costs, in tokens: a client joins
    others where that adds no more padding. With ``same_shape`` only equal batches go together.
    """

    max_tokens: int
    padding_worth: int
    same_shape: bool = False


def group_batches(shapes: Sequence[BatchShape], limits: ForwardLimits) -> list[list[int]]:
    """Positions of ``shapes`` in groups that share a forward, each sorted.

    Batches are taken from the longest to the shortest: the first of a group sets its length, and
    the one with the most rows their number.
    """
    order = sorted(range(len(shapes)), key=lambda i: (-shapes[i].length, -shapes[i].rows, i))
    groups: list[list[int]] = []
    for position in order:
        if groups and _joins(shapes, groups[-1], position, limits):
            groups[-1].append(position)
        else:
            groups.append([position])
    return [sorted(group) for group in groups]


def _joins(
    shapes: Sequence[BatchShape], group: Sequence[int], position: int, limits: ForwardLimits
) -> bool:
    joined = [shapes[i] for i in (*group, position)]
    if limits.same_shape:
        padding = 0 if len(set(joined)) == 1 else limits.padding_worth + 1
    else:
        padding = _tokens(joined) - _tokens(joined[:-1]) - joined[-1].rows * joined[-1].length
    return _tokens(joined) <= limits.max_tokens and padding <= limits.padding_worth


def _tokens(shapes: Sequence[BatchShape]) -> int:
    """Tokens of a forward of these batches: every client padded to the same rows and length."""
    return len(shapes) * max(s.rows for s in shapes) * max(s.length for s in shapes)
