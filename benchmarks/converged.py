"""Has training converged: a comparison beside the same one with three times its rounds.

    python benchmarks/converged.py [TASK=SHORT[+SHORT...]=LONG ...]

SHORT and LONG are the ``results.csv`` of ``fedtt compare``; left out, those in docs/results. A
method has converged where its validation accuracy after the long run is at most 0.005 above that
after the short one, in the mean over the seeds that both have. In both the learning rate falls to
zero at the end, so neither stands still for want of rounds at a low one.
"""

import argparse

from accuracy_by_bytes import FOLDER, REFERENCE, Cells, read_cells, shown
from report import print_table

from fedtt.experiment.comparison.cell_statistics import Spread, spread
from fedtt.experiment.comparison.text_tables import significant

STILL_IMPROVING = 0.005
TASKS = {
    "SST-2": (("bytes-sst2", "bytes-sst2-published"), "converged-sst2"),
    "silos": (("bytes-silos",), "converged-silos"),
}
VALIDATION, TEST = "final_validation_accuracy", "test_accuracy"
UPLINK = "uplink_bytes_per_client_round"


def default_tasks() -> list[str]:
    """Those whose long comparison is there."""
    return [
        f"{task}={'+'.join(str(FOLDER / f'{name}.csv') for name in short)}={long_file}"
        for task, (short, long_name) in TASKS.items()
        if (long_file := FOLDER / f"{long_name}.csv").exists()
    ]


def scores(cells: Cells, method: str, column: str) -> dict[str, float]:
    """Seed -> that column."""
    return {seed: float(line[column]) for seed, line in cells.get(method, {}).items()}


def change(after: dict[str, float], before: dict[str, float]) -> Spread | None:
    """Seed by seed, of the seeds that both have."""
    return spread([score - before[seed] for seed, score in after.items() if seed in before])


def sent(uplinks: dict[str, float]) -> str:
    """What a client sends in a round, in the mean."""
    return f"{significant(sum(uplinks.values()) / len(uplinks) / 1e3)} kB"


def verdict(gained: Spread | None) -> str:
    """Whether it has converged."""
    if gained is None:
        return ""
    return "no" if gained.mean > STILL_IMPROVING else "yes"


def rows_of(short: Cells, long_cells: Cells) -> list[list[str]]:
    """One line a method, in the order of the long comparison's file."""
    lines = []
    reference = scores(long_cells, REFERENCE, TEST)
    for method in long_cells:
        gained = change(scores(long_cells, method, VALIDATION), scores(short, method, VALIDATION))
        test = scores(long_cells, method, TEST)
        behind = None if method == REFERENCE else change(test, reference)
        lines.append(
            [
                method,
                sent(scores(long_cells, method, UPLINK)),
                shown(spread(list(scores(long_cells, method, VALIDATION).values()))),
                shown(gained, sign="+"),
                verdict(gained),
                shown(spread(list(test.values()))),
                shown(change(test, scores(short, method, TEST)), sign="+"),
                shown(behind, sign="+"),
            ]
        )
    return lines


def main() -> None:
    """A table a task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK=SHORT=LONG")
    tasks = parser.parse_args().tasks or default_tasks()
    if not tasks:
        parser.error("no long comparison lies in docs/results: name one")
    for asked in tasks:
        task, short, long_file = asked.split("=")
        print(f"{task}\n")
        print_table(
            [
                "method",
                "up",
                "validation",
                "to a third of the rounds",
                "converged",
                "test",
                "to a third of the rounds",
                f"to {REFERENCE}",
            ],
            rows_of(read_cells(short), read_cells(long_file)),
        )
        print()


if __name__ == "__main__":
    main()
