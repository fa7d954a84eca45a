"""Where a grid goes on: the values' own ratio or step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.experiment.comparison.grid_edges import beyond, edges, next_beyond, numeric_values


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([1e-3, 2e-3, 5e-3], 5e-4, 0.0125),  # the ratio of the outer two: 1/2 and 5/2
        ([5e-3, 1e-2, 2e-2], 2.5e-3, 4e-2),
        ([8, 16], 4, 32),  # a pair is a ratio
        ([1, 2, 3], 0, 4),  # steps of one
        ([0.0, 0.1], -0.1, 0.2),  # no ratio to zero
        ([1, 4, 16], None, 64),  # 1/4 is no whole number but 0: see below
    ],
)
def test_the_next_value(values: list, low: float | None, high: float) -> None:
    assert next_beyond(values, "highest") == pytest.approx(high)
    found = next_beyond(values, "lowest")
    assert found == (pytest.approx(low) if low is not None else 0)


@given(st.floats(1e-6, 1.0), st.floats(1.5, 10), st.integers(3, 5))
def test_a_geometric_grid_goes_on_by_its_ratio(first: float, ratio: float, count: int) -> None:
    grid = [first * ratio**i for i in range(count + 1)]
    assert next_beyond(grid[:-1], "highest") == pytest.approx(grid[-1], rel=6e-3)
    assert next_beyond(grid[1:], "lowest") == pytest.approx(grid[0], rel=6e-3)


@given(st.integers(1, 50), st.integers(1, 9), st.integers(3, 5))
def test_an_even_grid_of_whole_numbers_goes_on_by_its_step(start: int, step: int, n: int) -> None:
    grid = [start * step + i * step for i in range(n + 1)]
    assert next_beyond(grid[:-1], "highest") == grid[-1]


def test_words_and_switches_have_no_edge() -> None:
    points = [{"a": "x", "b": True, "c": ""}, {"a": "y", "b": False, "c": 1}]
    assert edges(points[0], points) == {}
    assert [numeric_values(points, key) for key in "abc"] == [[], [], []]


def test_one_point_an_edge_and_no_more_values_than_allowed() -> None:
    declared = [{"rate": r, "rank": k} for r in (0.1, 0.2) for k in (4, 8)]
    corner = {"rate": 0.2, "rank": 4}
    more = [{"rate": 0.4, "rank": 4}, {"rate": 0.2, "rank": 2}]
    assert list(beyond(corner, declared=declared, tried=declared, at_most=1)) == more
    assert beyond(more[0], declared=declared, tried=[*declared, *more], at_most=1) == ()
    assert beyond(more[0], declared=declared, tried=[*declared, *more], at_most=2) == (
        {"rate": 0.8, "rank": 4},
    )


@pytest.mark.parametrize(
    "values", [[1.0, 1.001], [1000.0, 1001.0], [0.999, 0.9991, 0.9995], [0.01, 0.010001]]
)
def test_the_next_of_values_close_together_is_none_of_them(values: list[float]) -> None:
    """A value that was tried already would be run, and widened from, for ever."""
    for _ in range(20):
        low, high = next_beyond(values, "lowest"), next_beyond(values, "highest")
        assert low is not None
        assert high is not None
        assert low < values[0] < values[-1] < high
        values = [low, *values, high]
