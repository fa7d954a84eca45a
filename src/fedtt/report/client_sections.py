"""What single clients got, what they hold, and which parts of the model trained when."""

import statistics
from collections.abc import Sequence

from fedtt.methods.tensor_train import DEFAULT_SCHEDULE
from fedtt.report.blocks import Chart, Section, Table
from fedtt.report.certainty import client_differences
from fedtt.report.charts import (
    SEEDS,
    bar_chart,
    dot_chart,
    ends_of,
    grid_chart,
    histogram,
    interval_chart,
)
from fedtt.report.run_view import RunView
from fedtt.report.series import Series, looks_of
from fedtt.report.verdict import gaps_over_seeds
from fedtt.report.what_trained import DRAWN, MOST_ROUNDS, cores_by_round, shapes_of
from fedtt.report.words import NOTHING, listed, number, signed

MOST_CLIENTS = 60  # with a row each in a chart
MOST_ROWS = 200
KINDS = {"before": "before training", "alone": "trained alone", "test": "federated"}
SPLITS = ("train", "validation", "test")
TURNS = "rolora"  # trains the factors of LoRA in turn


def clients_section(series: Series, *, key: str) -> Section:
    """Scores, gains and losses, and their spread, client by client."""
    runs = [run for run in series.runs if run.measured("test")]
    name = series.runs[0].score.name
    title = "Results by client"
    if not runs:
        return Section(
            key=f"{key}-clients", title=title, sentences=("Nothing is measured by client yet.",)
        )
    means = {what: _mean_by_client(runs, what) for what in KINDS}
    federated = means["test"]
    sentences = [_spread(federated, name)]
    charts: list[Chart] = []
    if len(federated) <= MOST_CLIENTS and any(len(values) > 1 for values in means.values()):
        rows = [
            (client, KINDS[what], values[client])
            for client in dict.fromkeys(c for values in means.values() for c in values)
            for what, values in means.items()
            if client in values
        ]
        charts.append(
            dot_chart(
                f"{key}-clients-score",
                f"Test {name} of every client",
                rows=rows,
                looks=looks_of(word for what, word in KINDS.items() if means[what]),
                x=f"test {name}",
            )
        )
    elif len(federated) > MOST_CLIENTS:
        charts.append(
            histogram(
                f"{key}-clients-score",
                f"Test {name} of the clients",
                values=list(federated.values()),
                x=f"test {name}",
            )
        )
    for what, word in (("alone", "training alone"), ("before", "no training")):
        charts += _gain_chart(runs, what, word=word, key=key)
    return Section(
        key=f"{key}-clients",
        title=title,
        sentences=tuple(sentences),
        charts=tuple(charts),
        tables=(_client_table(runs[0], means, name),),
    )


def data_section(run: RunView, *, key: str) -> Section:
    """Who holds how much, and of which label."""
    counts = run.counts
    looks = looks_of(SPLITS)
    train = {client: sizes["train"] for client, sizes in counts.items() if "train" in sizes}
    charts: list[Chart] = []
    if 1 < len(counts) <= MOST_CLIENTS:
        rows = [
            (client, split, float(sizes[split]))
            for client, sizes in counts.items()
            for split in SPLITS
            if split in sizes
        ]
        charts.append(
            bar_chart(f"{key}-sizes", "Examples of every client", rows=rows, looks=looks, x="texts")
        )
    elif counts and len(train) > MOST_CLIENTS:
        values = [float(n) for n in train.values()]
        charts.append(
            histogram(f"{key}-sizes", "Training texts of the clients", values=values, x="texts")
        )
    labels = {} if run.is_private else run.data.get("labels") or {}
    charts += _label_charts(run, labels, key=key)
    sentences = [*_quantities(train)]
    if not labels:
        sentences.append(
            "Of a private run the labels of single clients are not kept."
            if run.is_private
            else "How the labels are spread over clients is not kept in this run; fedtt data "
            "preview shows it."
        )
    rows_of_table = tuple(
        (client, *(f"{sizes[s]:,}" if s in sizes else "" for s in SPLITS))
        for client, sizes in list(counts.items())[:MOST_ROWS]
    )
    tables = (
        [Table(caption="Examples", header=("client", *SPLITS), rows=rows_of_table)]
        if counts
        else []
    )
    return Section(
        key=f"{key}-data",
        title="Data: how much, and of what",
        sentences=tuple(sentences),
        charts=tuple(charts),
        tables=tuple(tables),
    )


def trained_section(run: RunView, *, key: str) -> Section:
    """Exchanged parameters by layer, and what of them trained in which round."""
    shapes, settings = shapes_of(run.path), run.settings
    by_layer = shapes.by_layer()
    kinds = (run.summary or {}).get("exchanged_parameters", {})
    method = str(settings.get("method.name"))
    schedule = str(settings.get("method.schedule") or DEFAULT_SCHEDULE.get(method, "all"))
    charts: list[Chart] = []
    if 1 < len(by_layer) <= MOST_CLIENTS:
        rows = [(layer, "numbers", float(count)) for layer, count in by_layer.items()]
        charts.append(
            bar_chart(
                f"{key}-layers",
                "Exchanged parameters by layer",
                rows=rows,
                looks=looks_of(["numbers"]),
                x="numbers",
            )
        )
    cells = cores_by_round(shapes, schedule, rounds=run.rounds.count)
    if cells:
        names = sorted({name for _, name in cells}, key=lambda name: int(name.split()[1]))
        charts.append(grid_chart(f"{key}-schedule", "Cores by round", cells=cells, rows=names))
    told = _of_training(run, schedule, kinds)
    if cells and run.rounds.count > MOST_ROUNDS:
        told.append(f"The first {MOST_ROUNDS} rounds are shown; it goes on like that.")
    if by_layer:
        told.append(_bytes_by_layer(run))
    return Section(
        key=f"{key}-trained",
        title="What trained, and when",
        sentences=tuple(told),
        charts=tuple(charts),
    )


def _gain_chart(runs: Sequence[RunView], what: str, *, word: str, key: str) -> list[Chart]:
    name = runs[0].score.name
    title = f"Gain over {word}, by client"
    x = f"gain in test {name}, positive is better"
    over_seeds = gaps_over_seeds(runs, what)
    if len(over_seeds) < 2:
        return []
    gains = {client: statistics.fmean(values) for client, values in over_seeds.items()}
    if len(gains) > MOST_CLIENTS:
        values = list(gains.values())
        return [histogram(f"{key}-gain-{what}", title, values=values, x=x, where_zero=True)]
    single = client_differences(runs[0], what) if len(runs) == 1 else {}
    rows = [
        (client, gain, single[client].low, single[client].high)
        if client in single
        else (client, gain, min(over_seeds[client]), max(over_seeds[client]))
        for client, gain in sorted(gains.items(), key=lambda item: -item[1])
    ]
    known = [gap.half_width is not None for gap in single.values()]
    ends = ends_of(known) if single else SEEDS
    return [interval_chart(f"{key}-gain-{what}", title, rows=rows, x=x, ends=ends)]


def _client_table(run: RunView, means: dict[str, dict[str, float]], name: str) -> Table:
    shown = {what: values for what, values in means.items() if values}
    clients = list(dict.fromkeys(client for values in shown.values() for client in values))
    sign = 1 if run.score.higher_is_better else -1
    rows = []
    for client in clients[:MOST_ROWS]:
        federated = shown["test"].get(client)
        alone = shown.get("alone", {}).get(client)
        tested = run.counts.get(client, {}).get("test")
        rows.append(
            (
                client,
                NOTHING if tested is None else f"{tested:,}",
                *(number(values.get(client)) for values in shown.values()),
                *(
                    [NOTHING if None in (federated, alone) else _gain(federated, alone, sign)]
                    if "alone" in shown
                    else []
                ),
            )
        )
    more = f"; {len(clients) - MOST_ROWS} more are not listed" if len(clients) > MOST_ROWS else ""
    return Table(
        caption=f"Test {name}{more}",
        header=(
            "client",
            "test texts",
            *(KINDS[what] for what in shown),
            *(["gain over alone"] if "alone" in shown else []),
        ),
        rows=tuple(rows),
    )


def _gain(federated: float | None, alone: float | None, sign: int) -> str:
    return signed(sign * ((federated or 0.0) - (alone or 0.0)))


def _mean_by_client(runs: Sequence[RunView], what: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for run in runs:
        for client, value in (run.measured(what) or {}).items():
            found.setdefault(client, []).append(value)
    return {client: statistics.fmean(values) for client, values in found.items()}


def _spread(values: dict[str, float], name: str) -> str:
    if len(values) < 2:
        return f"There is one test set, for all clients: {name} {number(*values.values())}."
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        f"The federated model's {name} reaches from {number(values[low])} ({low}) to "
        f"{number(values[high])} ({high}); the standard deviation over clients is "
        f"{number(statistics.pstdev(values.values()))}."
    )


def _quantities(train: dict[str, int]) -> list[str]:
    if len(train) < 2:
        return (
            ["What the clients hold is not kept here: their data stays with them."]
            if not train
            else []
        )
    most, least = max(train.values()), min(train.values())
    return [
        f"{len(train):,} clients hold {sum(train.values()):,} training texts; the largest "
        f"{most:,}, the smallest {least:,}."
    ]


def _label_charts(run: RunView, labels: dict[str, list[int]], *, key: str) -> list[Chart]:
    names = [str(name) for name in run.data.get("label_names", [])]
    if not labels or len(labels) > MOST_CLIENTS or not 1 < len(names) <= 28:
        return []
    rows = [
        (client, name, count / max(1, sum(counts)))
        for client, counts in labels.items()
        for name, count in zip(names, counts, strict=False)
    ]
    return [
        bar_chart(
            f"{key}-labels",
            "Shares of the labels, by client",
            rows=rows,
            looks=looks_of(names),
            x="share of the training texts",
            shares=True,
        )
    ]


def _of_training(run: RunView, schedule: str, kinds: dict[str, int]) -> list[str]:
    settings, told = run.settings, []
    parts = listed(f"{count:,} of {kind}" for kind, count in kinds.items() if kind != "total")
    if parts:
        told.append(f"Exchanged: {kinds.get('total', 0):,} numbers, {parts}.")
    numbers = settings.get("method.subspace.size")
    if numbers is not None:
        redraw = settings.get("method.subspace.redraw", 0)
        drawn = "once for the whole run" if not redraw else f"anew every {redraw} rounds"
        if redraw == 1:
            drawn = "anew every round"
        told.append(
            f"They move by {numbers:,} numbers, in a subspace drawn {drawn}; the numbers of all "
            "layers train in every round, and they alone are sent."
        )
    elif schedule in DRAWN:
        told.append(
            f"The schedule {schedule!r} trains and sends some cores of each tensor train a round, "
            "and what is no core (the head) in every round."
        )
    elif schedule == "adaptive":
        told.append(
            "The schedule 'adaptive' trains one core of each tensor train a round, by the last "
            "updates; which one it was is not kept."
        )
    elif settings.get("method.name") == TURNS:
        told.append("LoRA's B trained, and was sent, in odd rounds, its A in even ones.")
    elif schedule == "all":
        told.append("Everything that is exchanged trained in every round.")
    else:
        told.append(
            f"The schedule {schedule!r} chose what trains in a round; what it chose is not kept."
        )
    return told


def _bytes_by_layer(run: RunView) -> str:
    codecs = [run.settings.get(f"wire.{key}", "plain") for key in ("codec", "downlink")]
    plain = codecs == ["plain", "plain"]
    if "method.subspace.size" in run.settings or not plain:
        return (
            "Bytes by layer are not known: what is sent is coded, or moves all layers together. "
            "The chart counts parameters."
        )
    return "Each of these numbers takes 4 bytes in a message that holds it."
