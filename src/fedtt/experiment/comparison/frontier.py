"""Test score over uplink bytes: a panel a setting and option, a point a method, and the frontier.

The frontier joins the methods that no other one beats in both: fewer bytes, and at least the score.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedtt.experiment.comparison.cell_statistics import Group, Results, Row
from fedtt.experiment.comparison.curves import STYLE, add_legend, figure_bytes, looks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (3.6, 2.8)  # inches
LEAST_WIDTH = 5.4  # which two columns of names need


def draw_frontier(results: Results) -> dict[str, bytes] | None:
    """``{"png": ..., "svg": ...}``, the same bytes for the same results.

    ``None`` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter
    except ImportError:
        return None
    looks = looks_of(results)
    columns = 2 if len(results.groups) > 1 else 1
    lines = -(-len(results.groups) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(
                max(LEAST_WIDTH, PANEL[0] * columns),
                PANEL[1] * lines + 0.2 + 0.12 * len(looks),
            ),
            layout="constrained",
        )
        axes = figure.subplots(lines, columns, squeeze=False)
        for panel, group in zip(axes.flat, results.groups, strict=False):
            _panel(panel, group, results=results, looks=looks)
            panel.xaxis.set_major_formatter(EngFormatter(unit="B"))
        for panel in axes.flat[len(results.groups) :]:
            panel.set_visible(False)
        add_legend(figure, looks, columns=2)
        return {kind: figure_bytes(figure, kind) for kind in ("png", "svg")}


def frontier_of(rows: Sequence[Row], *, sign: int) -> list[Row]:
    """The rows that no other one beats, by bytes upwards; ``sign`` -1 where less is better."""
    known = [row for row in rows if row.test_score and row.uplink_per_client_round]
    known.sort(key=lambda row: (_uplink(row), -sign * _score(row)))
    kept: list[Row] = []
    for row in known:
        if not kept or sign * _score(row) > sign * _score(kept[-1]):
            kept.append(row)
    return kept


def _panel(
    axes: "Axes", group: Group, *, results: Results, looks: dict[str, dict[str, Any]]
) -> None:
    axes.set_title(results.title(group))
    axes.set_xscale("log")
    axes.set_xlabel("sent by a client in a round (uplink)")
    axes.set_ylabel(f"test {results.score.name}")
    for row in group.rows:
        if row.test_score is None or not row.uplink_per_client_round:
            continue
        axes.errorbar(
            [row.uplink_per_client_round],
            [row.test_score.mean],
            yerr=None if row.test_score.sd is None else [row.test_score.sd],
            label=row.method,
            linestyle="",
            marker=looks[row.method]["marker"],
            color=looks[row.method]["color"],
            markersize=4,
            elinewidth=0.6,
        )
    best = frontier_of(group.rows, sign=1 if results.score.higher_is_better else -1)
    axes.plot(
        [_uplink(row) for row in best],
        [_score(row) for row in best],
        color="#888888",
        linewidth=0.8,
        zorder=0,
    )


def _uplink(row: Row) -> float:
    return row.uplink_per_client_round or 0.0


def _score(row: Row) -> float:
    return row.test_score.mean if row.test_score else 0.0
