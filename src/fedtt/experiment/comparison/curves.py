"""Accuracy over bytes: a panel a setting and option, a line a method, a band over its seeds."""

import io
import statistics
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from fedtt.experiment.comparison.cell_results import CellResult
from fedtt.experiment.comparison.cell_statistics import Group, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, told apart by the color-blind; more methods change the dashes.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS_A_LINE = 10
MARKERS = "osD^vP*Xdph<>"
STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "svg.hashsalt": "fedtt",
}
PANEL = (3.3, 2.4)  # inches: two panels fill a page's width
RANGE_WITH_THREES = 1000.0  # a wider axis is labeled at powers of ten alone
MISSING_MATPLOTLIB = (
    "no curves and no frontier (.png, .svg): matplotlib is not installed; pip install "
    "'fedtt[report]' and run the same command again, nothing is computed twice"
)

Line = tuple[list[float], list[float], list[float], list[float]]


def draw_curves(results: Results) -> dict[str, bytes] | None:
    """``{"png": ..., "svg": ...}``, the same bytes for the same results.

    ``None`` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
    except ImportError:
        return None
    settings = list(dict.fromkeys(group.setting for group in results.groups))
    options = list(dict.fromkeys(group.option for group in results.groups))
    looks = looks_of(results)
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(PANEL[0] * len(settings), PANEL[1] * len(options) + 0.2 + 0.06 * len(looks)),
            layout="constrained",
        )
        axes = figure.subplots(len(options), len(settings), squeeze=False, sharey=True)
        for panel in axes.flat:
            panel.set_visible(False)
        for group in results.groups:
            row, column = options.index(group.option), settings.index(group.setting)
            panel = axes[row][column]
            panel.set_visible(True)
            _panel(panel, group, title=results.title(group), looks=looks)
            least, most = panel.get_xlim()
            steps = (1.0, 3.0) if most < RANGE_WITH_THREES * least else (1.0,)
            panel.xaxis.set_major_locator(LogLocator(subs=steps))
            panel.xaxis.set_major_formatter(EngFormatter(unit="B"))
            panel.xaxis.set_minor_locator(NullLocator())
        for row in axes:
            row[0].set_ylabel(f"validation {results.score.name}")
        for column in axes.T:
            shown = [panel for panel in column if panel.get_visible()]
            shown[-1].set_xlabel("sent by all clients (uplink)")
        add_legend(figure, looks, columns=min(4, 2 * len(settings)))
        return {kind: figure_bytes(figure, kind) for kind in ("png", "svg")}


def mean_line(cells: Sequence[CellResult]) -> Line:
    """Mean uplink bytes; mean, least and greatest score over cells, at rounds that all have."""
    by_round = [{at.round: at for at in cell.curve} for cell in cells if cell.done]
    shared = sorted(set.intersection(*map(set, by_round))) if by_round else []
    line: Line = ([], [], [], [])
    for index in shared:
        points = [curve[index] for curve in by_round]
        scores = [at.score for at in points]
        line[0].append(statistics.fmean(at.uplink_bytes for at in points))
        line[1].append(statistics.fmean(scores))
        line[2].append(min(scores))
        line[3].append(max(scores))
    return line


def looks_of(results: Results) -> dict[str, dict[str, Any]]:
    """Color, dash and marker of each method, the same in every figure."""
    methods = dict.fromkeys(row.method for group in results.groups for row in group.rows)
    return {
        method: {
            "color": COLORS[index % len(COLORS)],
            "linestyle": DASHES[index // len(COLORS) % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
        }
        for index, method in enumerate(methods)
    }


def _panel(axes: "Axes", group: Group, *, title: str, looks: dict[str, dict[str, Any]]) -> None:
    axes.set_title(title)
    axes.set_xscale("log")
    for method, look in looks.items():
        of_method = [cell for cell in group.cells if cell.cell.method == method]
        uplink, mean, low, high = mean_line(of_method)
        if uplink:
            every = max(1, len(uplink) // MARKERS_A_LINE)
            axes.plot(
                uplink, mean, label=method, linewidth=1.2, markersize=3, markevery=every, **look
            )
            axes.fill_between(uplink, low, high, color=look["color"], alpha=0.15, linewidth=0)


def add_legend(figure: "Figure", names: Collection[str], *, columns: int) -> None:
    """Below the panels, each of the names that any of them shows, once and in that order."""
    handles: dict[str, Any] = {}
    for panel in figure.axes:
        marks, shown = panel.get_legend_handles_labels()
        handles |= dict(zip(shown, marks, strict=True))
    if handles:
        figure.legend(
            [handles[name] for name in names if name in handles],
            [name for name in names if name in handles],
            loc="outside lower center",
            ncols=columns,
            frameon=False,
        )


def figure_bytes(figure: Any, kind: str) -> bytes:
    """The figure as a file, the same bytes every time."""
    buffer = io.BytesIO()
    # A date would make the same figure another file.
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
