"""A choice at the edge of its grid: the best value may lie beyond. Which keys, and what lies there.

Only numbers have an edge: of words, or of a single value, none is the outermost.
"""

import itertools
from collections.abc import Mapping, Sequence

from fedtt.config.compare import Point

Number = int | float
LOWEST, HIGHEST = "lowest", "highest"
DIGITS = 3  # significant ones of a value that nobody wrote


def numeric_values(points: Sequence[Point], key: str) -> list[Number]:
    """The distinct values of ``key``, ascending; empty unless all are numbers."""
    values = {point[key] for point in points}
    if any(isinstance(value, bool) or not isinstance(value, Number) for value in values):
        return []
    return sorted(values)


def edges(point: Point, tried: Sequence[Point]) -> Mapping[str, str]:
    """Key -> ``lowest`` or ``highest``, where ``point`` has the outermost value that was tried."""
    found = {}
    for key, value in point.items():
        values = numeric_values(tried, key)
        if len(values) > 1 and value in (values[0], values[-1]):
            found[key] = LOWEST if value == values[0] else HIGHEST
    return found


def next_beyond(values: Sequence[Number], side: str) -> Number | None:
    """The value that follows the outermost one, by the values' own ratio or step.

    ``values`` ascend, two or more. It is a ratio where all are above zero and their ratios vary no
    more than their steps do, least to greatest; a pair is read as a ratio. None where whole
    numbers have no next one.
    """
    outer, inner = (values[-1], values[-2]) if side == HIGHEST else (values[0], values[1])
    value = outer * (outer / inner) if _is_geometric(values) else outer + (outer - inner)
    if all(isinstance(value, int) for value in values):
        return round(value) if _is_beyond(round(value), outer, side) else None
    # Of values close together three digits may be none of their own: as many as it takes.
    written = (float(f"{value:.{digits}g}") for digits in range(DIGITS, 18))
    return next((one for one in written if _is_beyond(one, outer, side)), None)


def _is_beyond(value: Number, outer: Number, side: str) -> bool:
    return value > outer if side == HIGHEST else value < outer


def beyond(
    point: Point, *, declared: Sequence[Point], tried: Sequence[Point], at_most: int
) -> tuple[Point, ...]:
    """The points one value beyond each edge at which ``point`` lies, the other keys as they are.

    ``declared`` is the grid as it was written; ``at_most`` so many values of a key lie outside it.
    """
    found = []
    for key, side in edges(point, tried).items():
        values = numeric_values(tried, key)
        added = set(values) - set(numeric_values(declared, key))
        value = next_beyond(values, side)
        if len(added) < at_most and value is not None:
            found.append({**point, key: value})
    return tuple(found)


def _is_geometric(values: Sequence[Number]) -> bool:
    if values[0] <= 0:
        return False
    pairs = list(itertools.pairwise(values))
    ratios, steps = [b / a for a, b in pairs], [b - a for a, b in pairs]
    return min(ratios) / max(ratios) >= min(steps) / max(steps)
