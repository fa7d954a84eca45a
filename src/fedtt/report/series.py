"""Runs that differ in their seed alone are one series: a line with a band."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from fedtt.experiment.comparison.curves import COLORS
from fedtt.experiment.run_rows import last_written
from fedtt.report.blocks import Look
from fedtt.report.round_log import Curve
from fedtt.report.run_view import RunView

T = TypeVar("T")
NO_DIFFERENCE = ("seed", "track.to")
DASHES = ((), (6, 3), (2, 2), (8, 3, 2, 3))
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")
MOST_SERIES = len(COLORS) * len(DASHES)
MOST_POINTS = 400  # of all lines of a chart together
FEWEST_POINTS = 30  # of each of them


@dataclass(frozen=True, kw_only=True)
class Series:
    """A name, and the runs of its seeds."""

    name: str
    runs: tuple[RunView, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Means over the runs after a round (from 1), and the least and greatest ``y``.

    ``sent`` is what all clients and the server had sent by then, both ways.
    """

    round: int
    sent: float
    y: float
    low: float
    high: float


def group_runs(runs: Sequence[RunView]) -> tuple[Series, ...]:
    """The series that there are among the runs, named by the settings in which they differ."""
    groups: dict[str, list[RunView]] = {}
    for run in runs:
        groups.setdefault(repr(_identity(run)), []).append(run)
    varied = _varied_keys([_identity(group[0]) for group in groups.values()])
    named = [(_name(group, varied), group) for group in groups.values()]
    twice = {name for name, _ in named if [other for other, _ in named].count(name) > 1}
    return tuple(
        Series(
            name=f"{name} ({number})" if name in twice else name,
            runs=tuple(sorted(group, key=lambda run: run.seed)),
        )
        for number, (name, group) in enumerate(named, start=1)
    )


def latest_of_seeds(runs: Sequence[RunView]) -> tuple[list[RunView], list[str]]:
    """One run for each configuration and seed, the latest that has ended, and what is left out."""
    by_age = sorted(runs, key=lambda run: (run.summary is not None, last_written(run.path)))
    latest = {repr((_identity(run), run.seed)): run for run in by_age}
    kept = {id(run) for run in latest.values()}
    notes = [
        f"{run.path} is not shown: {other.path} has the same settings and seed, and is later or "
        "has ended."
        for run in runs
        if (other := latest[repr((_identity(run), run.seed))]) is not run
    ]
    return [run for run in runs if id(run) in kept], notes


def looks_of(names: Iterable[str]) -> tuple[Look, ...]:
    """A look for each name, the same in every chart."""
    return tuple(
        Look(
            name=name,
            color=COLORS[index % len(COLORS)],
            dash=DASHES[index // len(COLORS) % len(DASHES)],
            shape=SHAPES[index % len(SHAPES)],
        )
        for index, name in enumerate(names)
    )


def points_of(
    series: Series, curve_of: Callable[[RunView], Curve | None], *, most: int
) -> list[Point]:
    """The mean over the runs at the rounds that all of them have a value of, thinned to ``most``.

    ``curve_of`` gives None of a run that measured nothing.
    """
    curves = [curve.samples for run in series.runs if (curve := curve_of(run)) is not None]
    found = [{one.index: (one.value, one.sent) for one in samples} for samples in curves]
    filled = [values for values in found if values]  # a run without any hides no other
    shared = thin(sorted(set.intersection(*map(set, filled))) if filled else [], most=most)
    points = []
    for index in shared:
        at = [values[index] for values in filled]
        ys = [value for value, _ in at]
        points.append(
            Point(
                round=index + 1,
                sent=statistics.fmean(sent for _, sent in at),
                y=statistics.fmean(ys),
                low=min(ys),
                high=max(ys),
            )
        )
    return points


def thin(values: Sequence[T], *, most: int) -> list[T]:
    """At most so many of the values, evenly spread, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(index * step)] for index in range(most)]


def points_a_line(lines: int) -> int:
    """How many points each of so many lines may have."""
    return max(FEWEST_POINTS, MOST_POINTS // max(1, lines))


def _identity(run: RunView) -> dict[str, object]:
    return {key: value for key, value in run.settings.items() if key not in NO_DIFFERENCE}


def _varied_keys(identities: Sequence[dict[str, object]]) -> list[str]:
    keys = dict.fromkeys(key for identity in identities for key in identity)
    return [
        key
        for key in keys
        if any(one.get(key) != other.get(key) for one, other in pairwise(identities))
    ]


def _name(group: Sequence[RunView], varied: Sequence[str]) -> str:
    if not varied:
        return group[0].name
    settings = group[0].settings
    shown = [
        str(settings[key]) if key == "method.name" else f"{key.rsplit('.', 1)[-1]} {settings[key]}"
        for key in sorted(varied, key=lambda key: key != "method.name")
        if key in settings
    ]
    return ", ".join(shown[:4]) or group[0].name
