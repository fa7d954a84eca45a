"""A run's rounds as a picture."""

import io

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from fedtt.experiment.comparison.curves import COLORS, PANEL, STYLE


class Picture(Figure):
    """A figure that a notebook shows, whether or not pyplot was imported in it."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png")
        return drawn.getvalue()


def plot_rounds(rounds: pd.DataFrame) -> Figure:
    """The score on validation data and the training loss, over rounds and over bytes sent."""
    scores = [name for name in rounds.columns if name.startswith("validation_")]
    shown = [*scores[:1], "loss"]
    sent = (rounds["uplink_bytes"] + rounds["downlink_bytes"]).cumsum()
    with rc_context(STYLE):
        figure = Picture(figsize=(2 * PANEL[0], PANEL[1] * len(shown)), layout="constrained")
        panels = figure.subplots(len(shown), 2, sharex="col", sharey="row", squeeze=False)
        for row, name, color in zip(panels, shown, COLORS, strict=False):
            values = rounds[name].dropna()
            row[0].plot(values.index, values, marker="o", markersize=3, color=color)
            row[1].plot(sent[values.index], values, marker="o", markersize=3, color=color)
            row[0].set_ylabel(name.replace("_", " "))
        panels[-1][0].set_xlabel("round")
        panels[-1][1].set_xlabel("bytes sent, both ways")
        panels[-1][1].xaxis.set_major_formatter(EngFormatter(unit="B"))
    return figure
