"""Which clients of a cohort share a forward in a step."""

from collections.abc import Iterator, Sequence
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
    never split). ``forward_worth`` is what a forward costs beside its tokens, in tokens: padding
    pays where it saves more of them. With ``same_shape`` only equal batches go together.
    """

    max_tokens: int
    forward_worth: int
    same_shape: bool = False


def group_batches(shapes: Sequence[BatchShape], limits: ForwardLimits) -> list[list[int]]:
    """Positions of ``shapes`` in groups that share a forward, each sorted; the longest first.

    Of all ways to cut the batches, sorted by length and rows, into groups, the one that costs
    least: its tokens with padding, and ``forward_worth`` for every group. Dynamic programming over
    where the last group begins.
    """
    order = sorted(range(len(shapes)), key=lambda i: (-shapes[i].length, -shapes[i].rows, i))
    costs, begins = [0], [0]  # of the first batches in order; where their last group begins
    for end in range(1, len(order) + 1):
        cost, begin = min(
            (costs[begin] + tokens + limits.forward_worth, begin)
            for begin, tokens in _last_groups([shapes[i] for i in order[:end]], limits)
        )
        costs.append(cost)
        begins.append(begin)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(sorted(order[begins[end] : end]))
        end = begins[end]
    return groups[::-1]


def _last_groups(shapes: Sequence[BatchShape], limits: ForwardLimits) -> Iterator[tuple[int, int]]:
    """Where a group that ends with the last batch may begin, and its tokens, all padded alike."""
    rows = 0
    for begin in range(len(shapes) - 1, -1, -1):
        rows = max(rows, shapes[begin].rows)
        tokens = (len(shapes) - begin) * rows * shapes[begin].length  # the first is the longest
        alike = shapes[begin] == shapes[-1] or not limits.same_shape
        if begin < len(shapes) - 1 and (tokens > limits.max_tokens or not alike):
            return  # no longer group fits either
        yield begin, tokens
