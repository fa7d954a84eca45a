"""Accuracy against bytes: several comparisons in the tables and picture of docs/results.md.

    python benchmarks/accuracy_by_bytes.py [--svg FILE] [TASK=FILE[+FILE...][@SETTING] ...]

Each task's FILEs are the ``results.csv`` of ``fedtt compare``, and SETTING one of theirs that have
several; left out, those in docs/results, a table for what ran alike. *up* and *fewer* are of what a
client sends in a round, *both ways* of all bytes of the task's run, times fewer than the
reference's. The picture is the frontier of docs/compare.md, a panel a task of the first table.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from report import print_table

from fedtt.experiment.comparison import Group, Results, Row, Status
from fedtt.experiment.comparison.cell_statistics import Spread, spread
from fedtt.experiment.comparison.frontier import draw_frontier
from fedtt.experiment.comparison.text_tables import significant

FOLDER = Path(__file__).parents[1] / "docs" / "results"


def _file(name: str) -> str:
    return str(FOLDER / f"bytes-{name}.csv")


MORE = ("", "-codecs", "-hundredth")
TABLES = [
    [
        f"{task}=" + "+".join(_file(name + more) for more in (*MORE, *others))
        for task, name, others in (
            ("SST-2", "sst2", ("-published", "-downlink")),
            ("silos", "silos", ("-downlink",)),
        )
    ],
    [
        f"MRPC={_file('mrpc')}",
        "100 clients, Dirichlet 1="
        f"{_file('sst2-clients')}+{_file('sst2-clients-downlink')}@dirichlet 1",
        f"100 clients, Dirichlet 0.1={_file('sst2-clients')}@dirichlet 0.1",
    ],
    [f"SmolLM2={_file('smollm2-sst2')}+{_file('smollm2-sst2-fedtt')}"],
    [f"SST-2, seed 0={_file('sst2-recipes')}"],
]
REFERENCE = "lora r=8"
Cells = dict[str, dict[str, dict[str, str]]]  # method -> seed -> a line of results.csv


def finished_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a ``results.csv`` whose cell has ended."""
    with path.open(encoding="utf-8", newline="") as file:
        return [line for line in csv.DictReader(file) if line["status"] == Status.DONE]


def read_cells(places: str) -> Cells:
    """The finished cells of those files; of a method that is in several, the first file's."""
    cells: Cells = {}
    paths, _, setting = places.partition("@")
    for path in filter(None, paths.split("+")):
        found: Cells = {}
        for line in finished_lines(Path(path)):
            if not setting or line["setting"] == setting:
                found.setdefault(line["method"], {})[line["seed"]] = line
        cells = {**found, **cells}
    return cells


def row_of_cells(method: str, cells: Cells) -> Row:
    """What the table and the picture need of a method."""
    own, reference = cells[method], cells.get(REFERENCE, {})
    scores = {seed: float(line["test_accuracy"]) for seed, line in own.items()}
    uplinks = spread([float(line["uplink_bytes_per_client_round"]) for line in own.values()])
    sent = [float(line["uplink_bytes"]) + float(line["downlink_bytes"]) for line in own.values()]
    return Row(
        method=method,
        seeds=len(own),
        statuses=Counter({Status.DONE: len(own)}),
        test_score=spread(list(scores.values())),
        difference=spread(
            [
                score - float(reference[seed]["test_accuracy"])
                for seed, score in scores.items()
                if seed in reference
            ]
        ),
        best_round=None,
        uplink_per_client_round=None if uplinks is None else uplinks.mean,
        total_bytes=None if (total := spread(sent)) is None else total.mean,
        reached=(),
        equal_bytes_score=None,
    )


def shown(value: Spread | None, *, sign: str = "") -> str:
    """As the documents write it."""
    if value is None:
        return ""
    return f"{value.mean:{sign}.3f}" + ("" if value.sd is None else f" ± {value.sd:.3f}")


def shown_uplink(row: Row) -> str:
    """What a client sends in a round, as the documents write it."""
    return f"{significant((row.uplink_per_client_round or 1.0) / 1e3)} kB"


def shown_both_ways(row: Row, reference: Row | None) -> str:
    """How many times fewer bytes than the reference's run, as the documents write it."""
    if reference is None or not reference.total_bytes or not row.total_bytes:
        return ""
    return f"{significant(reference.total_bytes / row.total_bytes)} x"


def print_rows(tasks: dict[str, dict[str, Row]]) -> None:
    """One line a method, from most to fewest bytes."""
    methods: dict[str, Row] = {}
    for rows in tasks.values():
        methods = {**rows, **methods}  # what entropy coding leaves differs a little by task
    ordered = sorted(methods, key=lambda method: -(methods[method].uplink_per_client_round or 0))
    whole = methods[REFERENCE].uplink_per_client_round or 0.0
    lines = []
    for method in ordered:
        sent = methods[method].uplink_per_client_round or 1.0
        line = [method, shown_uplink(methods[method]), f"{significant(whole / sent)} x"]
        for rows in tasks.values():
            if (row := rows.get(method)) is None:
                line += ["", "", ""]
                continue
            line.append(shown(row.test_score))
            line.append("" if method == REFERENCE else shown(row.difference, sign="+"))
            line.append(shown_both_ways(row, rows.get(REFERENCE)))
        lines.append(line)
    heads = [name for task in tasks for name in (task, f"to {REFERENCE}", "both ways")]
    print_table(["method", "up", "fewer", *heads], lines)


def read_tasks(asked: list[str]) -> dict[str, dict[str, Row]]:
    """The rows of every ``TASK=FILES``, by method."""
    cells = {name: read_cells(places) for name, places in (task.split("=", 1) for task in asked)}
    return {
        name: {method: row_of_cells(method, own) for method in own} for name, own in cells.items()
    }


def main() -> None:
    """Print the tables; draw the picture where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK=FILE")
    parser.add_argument("--svg", type=Path, help="where the picture goes")
    asked = parser.parse_args()
    tables = [read_tasks(tasks) for tasks in ([asked.tasks] if asked.tasks else TABLES)]
    for tasks in tables:
        print_rows(tasks)
        print()
    if asked.svg is None:
        return
    groups = tuple(
        Group(
            setting=name,
            option="plain",
            budget=None,
            reference_target=None,
            rows=tuple(rows.values()),
            cells=(),
        )
        for name, rows in tables[0].items()
    )
    results = Results(
        groups=groups, reference=REFERENCE, targets=(), margin=None, options_shown=False
    )
    figure = draw_frontier(results)
    if figure is None:
        raise SystemExit("matplotlib is not installed: pip install 'fedtt[report]'")
    asked.svg.write_bytes(figure[asked.svg.suffix[1:]])


if __name__ == "__main__":
    main()
