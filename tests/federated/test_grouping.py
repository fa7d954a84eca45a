"""Who shares a forward: everyone once, within the budget, without padding that does not pay."""

from hypothesis import given
from hypothesis import strategies as st

from fedtt.federated.local.forward_groups import BatchShape, ForwardLimits, group_batches

SHAPES = st.lists(
    st.builds(BatchShape, rows=st.integers(1, 9), length=st.integers(1, 8).map(lambda n: 8 * n)),
    max_size=12,
)


def tokens(shapes: list[BatchShape]) -> int:
    return len(shapes) * max(s.rows for s in shapes) * max(s.length for s in shapes)


@given(shapes=SHAPES, budget=st.integers(1, 2000), worth=st.integers(0, 500), same=st.booleans())
def test_groups_hold_everyone_once_and_keep_to_the_limits(
    shapes: list[BatchShape], budget: int, worth: int, same: bool
) -> None:
    limits = ForwardLimits(max_tokens=budget, forward_worth=worth, same_shape=same)
    groups = group_batches(shapes, limits)
    assert sorted(i for group in groups for i in group) == list(range(len(shapes)))
    for group in groups:
        own = [shapes[i] for i in group]
        assert len(group) == 1 or tokens(own) <= budget
        padding = tokens(own) - sum(s.rows * s.length for s in own)
        assert padding <= worth * (len(own) - 1)
        if same:
            assert len(set(own)) == 1


def test_equal_batches_go_together_up_to_the_budget() -> None:
    eight = [BatchShape(rows=4, length=16)] * 8  # 64 tokens each
    free = ForwardLimits(max_tokens=512, forward_worth=0)
    assert group_batches(eight, free) == [[0, 1, 2, 3, 4, 5, 6, 7]]
    tight = ForwardLimits(max_tokens=511, forward_worth=0)
    assert sorted(map(len, group_batches(eight, tight))) == [1, 7]


def cost(groups: list[list[int]], shapes: list[BatchShape], worth: int) -> int:
    return sum(tokens([shapes[i] for i in group]) + worth for group in groups)


def partitions(count: int) -> list[list[list[int]]]:
    """All partitions of ``range(count)``."""
    found: list[list[list[int]]] = [[]]
    for new in range(count):
        found = [
            [*([*g, new] if i == chosen else g for i, g in enumerate(groups))]
            + ([[new]] if chosen == len(groups) else [])
            for groups in found
            for chosen in range(len(groups) + 1)
        ]
    return found


@given(
    lengths=st.lists(st.integers(1, 9).map(lambda n: 8 * n), min_size=1, max_size=6),
    worth=st.integers(0, 200),
)
def test_no_other_way_of_sharing_forwards_is_cheaper(lengths: list[int], worth: int) -> None:
    shapes = [BatchShape(rows=4, length=length) for length in lengths]
    groups = group_batches(shapes, ForwardLimits(max_tokens=10**6, forward_worth=worth))
    best = min(cost(other, shapes, worth) for other in partitions(len(shapes)))
    assert cost(groups, shapes, worth) == best


def test_a_short_batch_joins_a_long_one_where_its_padding_pays() -> None:
    shapes = [BatchShape(rows=4, length=16), BatchShape(rows=4, length=24)]  # 4 x 8 = 32 more
    assert group_batches(shapes, ForwardLimits(max_tokens=999, forward_worth=33)) == [[0, 1]]
    assert group_batches(shapes, ForwardLimits(max_tokens=999, forward_worth=31)) == [[1], [0]]
