"""The sections of a report on runs, each a function of the series it shows."""

from collections.abc import Callable, Sequence
from itertools import chain

from fedtt.byte_sizes import format_bytes
from fedtt.report.blocks import Chart, Look, Section, Table
from fedtt.report.charts import Lines, line_chart
from fedtt.report.round_log import Curve
from fedtt.report.run_view import RunView
from fedtt.report.series import Point, Series, points_a_line, points_of
from fedtt.report.words import NOTHING, listed, number

MOST_ROWS = 200
CurveOf = Callable[[RunView], Curve | None]


def progress_section(panel: Sequence[Series], looks: Sequence[Look], *, key: str) -> Section:
    """Score and loss against rounds, and against bytes."""
    name = panel[0].runs[0].score.name
    scored = _lines(panel, _validation)
    lost = _lines(panel, lambda run: run.rounds.loss)
    charts: list[Chart] = []
    for short, title, lines in (
        ("score", f"validation {name}", scored),
        ("loss", "training loss", lost),
    ):
        if not _drawable(lines):
            continue
        charts += [
            line_chart(
                f"{key}-{short}-{unit}",
                f"{title.capitalize()} against {unit}",
                lines=lines,
                looks=looks,
                y=title,
                by_bytes=unit == "bytes",
            )
            for unit in ("rounds", "bytes")
        ]
    return Section(
        key=f"{key}-progress",
        title="Accuracy and loss" if name == "accuracy" else f"{name} and loss",
        sentences=tuple(_of_progress(panel, scored, lost)),
        charts=tuple(charts),
    )


def bytes_section(panel: Sequence[Series], looks: Sequence[Look], *, key: str) -> Section:
    """What was sent, by direction."""
    rows = []
    for series in panel:
        run = series.runs[0]
        up, down, messages = (
            run.rounds.uplink_bytes,
            run.rounds.downlink_bytes,
            run.rounds.messages,
        )
        rows.append(
            (
                series.name,
                format_bytes(up),
                format_bytes(down),
                format_bytes(up + down),
                format_bytes(up / messages) if messages else NOTHING,
                _parameters(run),
            )
        )
    header = ("run", "up", "down", "both", "a client in a round, up", "numbers in a message")
    charts = []
    if len(panel) == 1:
        sent: dict[str, CurveOf] = {
            "up": lambda run: run.rounds.uplink,
            "down": lambda run: run.rounds.downlink,
        }
        lines = [
            (title, points_of(panel[0], curve_of, most=points_a_line(2)))
            for title, curve_of in sent.items()
        ]
        if _drawable(lines):
            charts.append(
                line_chart(
                    f"{key}-bytes-direction",
                    "Bytes in a round, by direction",
                    lines=lines,
                    looks=looks,
                    y="bytes in a round",
                    of_bytes=True,
                )
            )
    return Section(
        key=f"{key}-bytes",
        title="Bytes",
        sentences=tuple(_of_bytes(panel)),
        charts=tuple(charts),
        tables=(Table(caption="What was sent", header=header, rows=tuple(rows)),),
    )


def timing_section(panel: Sequence[Series], looks: Sequence[Look], *, key: str) -> Section:
    """How long the rounds took."""
    lines = _lines(panel, lambda run: run.rounds.took)
    rows = []
    for series in panel:
        for run in series.runs:
            took = sorted(sample.value for sample in run.rounds.took.samples)
            rows.append(
                (
                    series.name,
                    str(run.seed),
                    f"{run.rounds.seconds:,.1f} s",
                    f"{took[len(took) // 2]:.3g} s" if took else NOTHING,
                    f"{run.rounds.slowest:.3g} s" if took else NOTHING,
                )
            )
    header = ("run", "seed", "all rounds", "a round, median", "the slowest")
    charts = []
    if _drawable(lines):
        charts.append(
            line_chart(f"{key}-seconds", "Seconds a round", lines=lines, looks=looks, y="seconds")
        )
    return Section(
        key=f"{key}-timing",
        title="Timing",
        charts=tuple(charts),
        tables=(Table(caption="Seconds", header=header, rows=tuple(rows[:MOST_ROWS])),),
    )


def privacy_section(panel: Sequence[Series], looks: Sequence[Look], *, key: str) -> Section:
    """Epsilon spent, by round."""
    charts, sentences = [], []
    for kind, level in (("privacy", "clients"), ("example_privacy", "examples")):
        lines = _lines(panel, _epsilon(kind))
        if _drawable(lines):
            charts.append(
                line_chart(
                    f"{key}-{kind}",
                    f"Privacy spent, of {level}",
                    lines=lines,
                    looks=looks,
                    y="epsilon so far",
                )
            )
        for series in panel:
            guarantee = (series.runs[0].summary or {}).get(kind)
            if guarantee:
                sentences.append(_guarantee(series.name, guarantee))
    noisy = [one.name for one in panel if any(run.is_noisy for run in one.runs)]
    if noisy and not charts:
        sentences.append(f"{listed(noisy)}: no round has said yet what privacy it spent.")
    elif not charts:
        sentences.append(
            "No privacy was spent: there is no differential privacy in "
            f"{'this run' if len(panel) == 1 else 'these runs'}, so nothing bounds what the "
            "updates tell of the texts."
        )
    return Section(
        key=f"{key}-privacy", title="Privacy", sentences=tuple(sentences), charts=tuple(charts)
    )


def _lines(panel: Sequence[Series], curve_of: CurveOf) -> list[tuple[str, list[Point]]]:
    most = points_a_line(len(panel))
    return [(series.name, points_of(series, curve_of, most=most)) for series in panel]


def _drawable(lines: Lines) -> bool:
    return any(points for _, points in lines)


def _validation(run: RunView) -> Curve | None:
    return run.rounds.validation.get(run.score.name)


def _epsilon(kind: str) -> CurveOf:
    return lambda run: run.rounds.epsilon.get(kind)


def _of_progress(
    panel: Sequence[Series],
    scored: Lines,
    lost: Lines,
) -> list[str]:
    told = []
    if not _drawable(scored):
        told.append("Nothing was measured on validation data (evaluation.every).")
    if not _drawable(lost):
        told.append("No training loss is kept: it is not, of private rounds.")
    if any(len(series.runs) > 1 for series in panel):
        told.append(
            "A line is the mean over seeds, its band reaches from the least to the greatest."
        )
    rounds = max(run.rounds.count for series in panel for run in series.runs)
    shown = max((len(points) for _, points in chain(scored, lost)), default=0)
    if _drawable(lost) and shown < rounds:
        told.append(f"Of {rounds:,} rounds {shown} are shown, evenly spread.")
    return told


def _of_bytes(panel: Sequence[Series]) -> list[str]:
    told = [
        "Lengths of payloads as sent; kB and MB are powers of 1000. Of several seeds, the first."
    ]
    for series in panel:
        summary = series.runs[0].summary or {}
        reference = summary.get("lora_reference")
        sent = summary.get("uplink_bytes", 0) + summary.get("downlink_bytes", 0)
        if len(panel) == 1 and reference and sent and summary.get("method") != "lora":
            lora = reference["uplink_bytes"] + reference["downlink_bytes"]
            told.append(
                f"FedAvg with LoRA r=8 would have sent {format_bytes(lora)} in the same rounds, "
                f"{lora / sent:.3g} times as much."
            )
    return told


def _parameters(run: RunView) -> str:
    summary = run.summary or {}
    total = summary.get("exchanged_parameters", {}).get("total")
    numbers = summary.get("subspace_numbers")
    if total is None:
        return NOTHING
    return f"{total:,}" if numbers is None else f"{numbers:,} (they move {total:,})"


def _guarantee(name: str, guarantee: dict[str, object]) -> str:
    epsilon, delta = guarantee.get("epsilon"), guarantee.get("delta")
    stopped = f" Stopped: {guarantee['stopped']}." if guarantee.get("stopped") else ""
    return (
        f"{name}: {guarantee.get('level')}-level differential privacy, epsilon "
        f"{number(epsilon) if isinstance(epsilon, float) else epsilon} at delta {delta} "
        f"({guarantee.get('neighbors')}).{stopped}"
    )


def dropped_lines(panel: Sequence[Series]) -> list[str]:
    """Rounds that clients missed, or that could not be used."""
    told = []
    for run in chain.from_iterable(series.runs for series in panel):
        rounds = run.rounds
        if rounds.missed:
            told.append(
                f"{run.name}: in {rounds.missed} of {rounds.count} rounds clients dropped out."
            )
        if rounds.unused:
            named = listed(map(str, rounds.unused_rounds), of=rounds.unused)
            told.append(f"{run.name}: the updates of round {named} were not used.")
    return told
