"""Pictures as Vega-Lite specifications, whose fields are ours: what a run file holds is data alone.

Names of clients and series are values of fields, never fields, expressions or options, so nothing
that a file holds is run. ``page.js`` adds colors of the theme and the list of hidden series.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fedtt.byte_sizes import format_bytes
from fedtt.experiment.comparison.curves import COLORS
from fedtt.report.blocks import Chart, Look, Table
from fedtt.report.series import Point
from fedtt.report.words import number, signed

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name: nothing is fetched
HEIGHT = 240
ROW = 24
PLAIN = COLORS[0]  # of marks that belong to no series
FAR_APART = 8
COUNT_AXIS = {"labelExpr": "format(datum.value, '.3~s')", "labelOverlap": True, "tickCount": 5}
BYTES_AXIS = {**COUNT_AXIS, "labelExpr": "format(datum.value, '.3~s') + 'B'"}
ROUND_AXIS = {"format": "d", "tickMinStep": 1, "labelOverlap": True}
LINE_AT_ZERO = {
    "data": {"values": [{"zero": 0}]},
    "mark": {"type": "rule", "strokeDash": [3, 3]},
    "encoding": {"x": {"field": "zero", "type": "quantitative"}},
}
Lines = Sequence[tuple[str, Sequence[Point]]]
Amounts = Sequence[tuple[str, str, float]]  # name, kind, amount


def line_chart(
    key: str,
    title: str,
    *,
    lines: Lines,
    looks: Sequence[Look],
    y: str,
    by_bytes: bool = False,
    of_bytes: bool = False,
) -> Chart:
    """``y`` over rounds, or over the bytes sent; a band from least to greatest where seeds differ.

    ``of_bytes``: ``y`` is a size, and the lines are no series of the page, so they are named here.
    """
    rows: list[dict[str, Any]] = [
        {
            "s": name,
            "x": point.sent if by_bytes else point.round,
            "y": point.y,
            "lo": point.low,
            "hi": point.high,
        }
        for name, points in lines
        for point in points
    ]
    banded = any(row["hi"] > row["lo"] for row in rows)
    x_title = "bytes sent by all, both ways" if by_bytes else "round"
    shown = dict.fromkeys(name for name, points in lines if points)
    x = {
        "field": "x",
        "type": "quantitative",
        "title": x_title,
        "axis": BYTES_AXIS if by_bytes else ROUND_AXIS,
        "scale": _bytes_scale(lines) if by_bytes else {"zero": False, "nice": False},
    }
    y_channel = {
        "field": "y",
        "type": "quantitative",
        "title": y,
        "scale": {"zero": of_bytes},
        "axis": BYTES_AXIS if of_bytes else {"tickCount": 5},
    }
    color = {**_color(looks), **({"legend": _legend()} if of_bytes else {})}
    told = format_bytes if of_bytes else number
    layers = [
        *(
            [
                {
                    "mark": {"type": "area", "opacity": 0.18, "line": False},
                    "encoding": {
                        "x": x,
                        "y": {**y_channel, "field": "lo"},
                        "y2": {"field": "hi"},
                        "color": color,
                    },
                }
            ]
            if banded
            else []
        ),
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {
                "x": x,
                "y": y_channel,
                "color": color,
                "strokeDash": _scaled(
                    "s", looks, [list(look.dash) or [1, 0] for look in looks], legend=of_bytes
                ),
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
            "encoding": {
                "x": x,
                "y": y_channel,
                "color": color,
                "shape": _scaled("s", looks, [look.shape for look in looks], legend=of_bytes),
                "tooltip": _tooltips({"s": "", "x": x_title, "y": y}, bytes_x=by_bytes),
            },
        },
    ]
    return Chart(
        key=key,
        title=title,
        words=f"{title}. {_told(lines, told)}",
        spec=_spec({"layer": layers}, rows, height=HEIGHT, hideable=not of_bytes),
        table=Table(
            caption=title,
            header=(
                *(["series"] if len(shown) > 1 else []),
                "round",
                "sent",
                y,
                *(["least", "greatest"] if banded else []),
            ),
            rows=tuple(
                (
                    *([name] if len(shown) > 1 else []),
                    str(point.round),
                    format_bytes(point.sent),
                    told(point.y),
                    *([told(point.low), told(point.high)] if banded else []),
                )
                for name, points in lines
                for point in points
            ),
        ),
    )


def dot_chart(key: str, title: str, *, rows: Amounts, looks: Sequence[Look], x: str) -> Chart:
    """A row a client, a dot a measurement: ``rows`` are client, what it is, and its value."""
    kinds, by_client = _kinds(rows), _by_name(rows)
    values = [{"c": client, "w": what, "x": value} for client, what, value in rows]
    y = _a_row_each(list(by_client))
    spec = {
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 1, "opacity": 0.5},
                "encoding": {
                    "y": y,
                    "x": {"field": "x", "type": "quantitative", "aggregate": "min"},
                    "x2": {"field": "x", "aggregate": "max"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "y": y,
                    "x": {
                        "field": "x",
                        "type": "quantitative",
                        "title": x,
                        "scale": {"zero": False},
                        "axis": {"tickCount": 5},
                    },
                    "color": {**_color(looks, field="w"), "legend": _legend()},
                    "shape": _scaled("w", looks, [look.shape for look in looks], legend=True),
                    "tooltip": _tooltips({"c": "client", "w": "", "x": x}),
                },
            },
        ]
    }
    return Chart(
        key=key,
        title=title,
        words=f"{title}, a row a client.",
        spec=_spec(spec, values, height=ROW * len(by_client)),
        table=Table(
            caption=title,
            header=("client", *kinds),
            rows=tuple(
                (client, *(number(found.get(kind)) for kind in kinds))
                for client, found in by_client.items()
            ),
        ),
    )


INTERVAL, SEEDS = "the bar is the 95 % interval", "the bar reaches over the seeds"
NO_INTERVAL = "how far it may be off is not known"


def ends_of(known: Sequence[bool]) -> str:
    """What the ends of rows are, of which an interval is known or not."""
    if all(known):
        return INTERVAL
    return f"{INTERVAL}, where one is known" if any(known) else NO_INTERVAL


def interval_chart(
    key: str,
    title: str,
    *,
    rows: Sequence[tuple[str, float, float, float]],
    x: str,
    ends: str,
) -> Chart:
    """A row a name: its difference and two ends, of which ``ends`` says what they are."""
    values = [{"c": name, "x": mean, "lo": low, "hi": high} for name, mean, low, high in rows]
    y = _a_row_each([name for name, *_ in rows])
    x_channel = {"field": "x", "type": "quantitative", "title": x, "axis": {"tickCount": 5}}
    spec = {
        "layer": [
            LINE_AT_ZERO,
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": PLAIN},
                "encoding": {
                    "y": y,
                    "x": {**x_channel, "field": "lo"},
                    "x2": {"field": "hi"},
                },
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 80,
                    "opacity": 1,
                    "color": PLAIN,
                },
                "encoding": {
                    "y": y,
                    "x": x_channel,
                    "tooltip": _tooltips({"c": "", "x": "difference", "lo": "from", "hi": "to"}),
                },
            },
        ]
    }
    return Chart(
        key=key,
        title=title,
        words=f"{title}, a row each; {ends}; right of the line at 0 is better.",
        spec=_spec(spec, values, height=ROW * len(rows)),
        table=Table(
            caption=title,
            header=("", "difference", "from", "to"),
            rows=tuple((name, *map(signed, numbers)) for name, *numbers in rows),
        ),
    )


def histogram(
    key: str, title: str, *, values: Sequence[float], x: str, where_zero: bool = False
) -> Chart:
    """How many clients lie where."""
    counts = _bins(values)
    rows = [{"lo": low, "hi": high, "n": n} for low, high, n in counts]
    bars = {
        "mark": {"type": "bar", "color": PLAIN},
        "encoding": {
            "x": {"field": "lo", "type": "quantitative", "title": x, "scale": {"zero": False}},
            "x2": {"field": "hi"},
            "y": {"field": "n", "type": "quantitative", "title": "clients"},
            "tooltip": _tooltips({"lo": "from", "hi": "to", "n": "clients"}),
        },
    }
    return Chart(
        key=key,
        title=title,
        words=f"{title}: how many of {len(values):,} clients lie where.",
        spec=_spec({"layer": [bars, *([LINE_AT_ZERO] if where_zero else [])]}, rows, height=HEIGHT),
        table=Table(
            caption=title,
            header=("from", "to", "clients"),
            rows=tuple((number(low), number(high), f"{n:,}") for low, high, n in counts),
        ),
    )


def bar_chart(
    key: str,
    title: str,
    *,
    rows: Amounts,
    looks: Sequence[Look],
    x: str,
    shares: bool = False,
) -> Chart:
    """A bar a name, stacked of its kinds: ``rows`` are name, kind, amount."""
    values = [{"c": name, "w": kind, "x": amount} for name, kind, amount in rows]
    kinds, amounts = _kinds(rows), _by_name(rows)
    spec = {
        "mark": {"type": "bar"},
        "encoding": {
            "y": _a_row_each(list(amounts)),
            "x": {
                "field": "x",
                "type": "quantitative",
                "title": x,
                "stack": "zero",
                "axis": {"format": "%", "tickCount": 5} if shares else COUNT_AXIS,
            },
            "color": {
                **_color(looks, field="w"),
                **({"legend": _legend()} if len(kinds) > 1 else {}),
            },
            "order": {"field": "o", "type": "quantitative"},
            "tooltip": _tooltips({"c": "", "w": "", "x": x}),
        },
    }
    for row in values:
        row["o"] = kinds.index(str(row["w"]))
    told = "{:.1%}".format if shares else "{:,.0f}".format
    return Chart(
        key=key,
        title=title,
        words=f"{title}, a bar each.",
        spec=_spec(spec, values, height=ROW * len(amounts)),
        table=Table(
            caption=title,
            header=("", *kinds),
            rows=tuple(
                (name, *(told(found[kind]) if kind in found else "" for kind in kinds))
                for name, found in amounts.items()
            ),
        ),
    )


def grid_chart(
    key: str, title: str, *, cells: Sequence[tuple[int, str]], rows: Sequence[str]
) -> Chart:
    """What trained when: a column a round, a row a name, a cell where it trained."""
    values = [{"x": index, "c": name} for index, name in cells]
    spec = {
        "mark": {"type": "rect", "color": PLAIN},
        "encoding": {
            "x": {
                "field": "x",
                "type": "ordinal",
                "title": "round",
                "axis": {"labelOverlap": True, "labelAngle": 0},
            },
            "y": _a_row_each(rows),
            "tooltip": _tooltips({"c": "", "x": "round"}),
        },
    }
    in_round: dict[int, list[str]] = {}
    for index, name in cells:
        in_round.setdefault(index, []).append(name)
    return Chart(
        key=key,
        title=title,
        words=f"{title}: a column a round, a row each; filled where it trained and was sent.",
        spec=_spec(spec, values, height=ROW * len(rows)),
        table=Table(
            caption=title,
            header=("round", "trained and sent"),
            rows=tuple((str(index), ", ".join(names)) for index, names in in_round.items()),
        ),
    )


def _spec(
    body: dict[str, Any], rows: list[dict[str, Any]], *, height: Any, hideable: bool = False
) -> dict[str, Any]:
    # "hidden" is set by the page's legend.
    hidden = {
        "params": [{"name": "hidden", "value": []}],
        "transform": [{"filter": "indexof(hidden, datum.s) < 0"}],
    }
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "rows", "values": rows},
        **(hidden if hideable else {}),
        **body,
    }


def _bytes_scale(lines: Lines) -> dict[str, Any]:
    """Logarithmic where one line sends far more than another, and would leave it no room."""
    ends = [points[-1].sent for _, points in lines if points]
    if ends and min(ends) > 0 and max(ends) > FAR_APART * min(ends):
        return {"type": "log", "nice": False}
    return {"zero": True, "nice": True}


def _a_row_each(names: Sequence[str]) -> dict[str, Any]:
    return {"field": "c", "type": "nominal", "title": None, "sort": list(names)}


def _kinds(rows: Amounts) -> list[str]:
    return list(dict.fromkeys(kind for _, kind, _ in rows))


def _by_name(rows: Amounts) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for name, kind, amount in rows:
        found.setdefault(name, {})[kind] = amount
    return found


def _color(looks: Sequence[Look], *, field: str = "s") -> dict[str, Any]:
    return _scaled(field, looks, [look.color for look in looks])


def _scaled(
    field: str, looks: Sequence[Look], values: list[Any], *, legend: bool = False
) -> dict[str, Any]:
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": [look.name for look in looks], "range": values},
        "legend": _legend() if legend else None,
    }


def _legend() -> dict[str, Any]:
    return {"title": None, "orient": "top", "direction": "horizontal", "columns": 3}


def _tooltips(titles: dict[str, str], *, bytes_x: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "field": field,
            "title": title or "what",
            "type": "nominal" if field in "scw" else "quantitative",
            **({"format": ".3~s"} if field == "x" and bytes_x else {}),
        }
        for field, title in titles.items()
    ]


def _told(lines: Lines, told: Callable[[float], str]) -> str:
    """Where the lines begin and end, for who does not see them."""
    ends = [
        f"{name}: from {told(points[0].y)} in round {points[0].round} to {told(points[-1].y)} "
        f"in round {points[-1].round}"
        for name, points in lines
        if points
    ]
    return "; ".join(ends[:8]) + ("." if ends else "")


def _bins(values: Sequence[float], count: int = 24) -> list[tuple[float, float, int]]:
    low, high = min(values), max(values)
    width = (high - low) / count or 1.0
    found = [0] * count
    for value in values:
        found[min(count - 1, int((value - low) / width))] += 1
    return [(low + i * width, low + (i + 1) * width, n) for i, n in enumerate(found)]
