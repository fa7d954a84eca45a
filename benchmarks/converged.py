"""Has training converged: a comparison beside the same one with three times its rounds.

    python benchmarks/converged.py [TASK=SHORT[+SHORT...][@SETTING]=LONG[@SETTING] ...]

SHORT and LONG are the ``results.csv`` of ``fedtt compare``, or one of them whose settings are the
rounds; left out, those in docs/results. SHORT may be empty: nothing is compared then. A method has
converged where its validation accuracy after the long run is at most 0.005 above that after the
short one, in the mean over the seeds that both have. In both the learning rate falls to zero at the
end, so neither stands still for want of rounds at a low one.
"""

import argparse
from typing import NamedTuple

from accuracy_by_bytes import (
    FOLDER,
    REFERENCE,
    Cells,
    read_cells,
    row_of_cells,
    shown,
    shown_both_ways,
    shown_uplink,
)
from report import print_table

from fedtt.experiment.comparison.cell_statistics import Spread, spread

STILL_IMPROVING = 0.005
SHORT_SST2 = tuple(f"bytes-sst2{more}" for more in ("", "-published", "-hundredth", "-downlink"))
CLIENTS = "converged-sst2-clients"
SKEW = "converged-sst2-skew"


class Task(NamedTuple):
    """Names of files in docs/results, and of the settings in them."""

    short: tuple[str, ...]
    long: str
    settings: tuple[str, str] = ("", "")

    def as_asked(self, name: str) -> str:
        """How the command line names it."""
        short = "+".join(str(FOLDER / f"{file}.csv") for file in self.short)
        places = (short, str(FOLDER / f"{self.long}.csv"))
        both = (f"{p}@{s}" if s else p for p, s in zip(places, self.settings, strict=True))
        return "=".join((name, *both))


TASKS = {
    "SST-2": Task(SHORT_SST2, "converged-sst2"),
    "SST-2, 180 rounds": Task(("converged-sst2",), "converged-sst2-long"),
    "silos": Task(("bytes-silos",), "converged-silos"),
    "MRPC": Task(("converged-mrpc",), "converged-mrpc", ("20 rounds", "60 rounds")),
}
TASKS |= {
    f"100 clients, Dirichlet {alpha}": Task(
        (CLIENTS,), CLIENTS, (f"dirichlet {alpha}, 30 rounds", f"dirichlet {alpha}, 90 rounds")
    )
    for alpha in ("1", "0.1")
}
TASKS |= {
    setting: Task((), SKEW, ("", setting))
    for setting in (
        "4 silos, dirichlet 1",
        "4 silos, dirichlet 0.1",
        "20 silos, dirichlet 0.1, dropouts",
    )
}
TASKS["QNLI"] = Task((), "converged-qnli")
VALIDATION, TEST = "final_validation_accuracy", "test_accuracy"


def default_tasks() -> list[str]:
    """Those whose long comparison is there."""
    return [
        task.as_asked(name)
        for name, task in TASKS.items()
        if (FOLDER / f"{task.long}.csv").exists()
    ]


def scores(cells: Cells, method: str, column: str) -> dict[str, float]:
    """Seed -> that column."""
    return {seed: float(line[column]) for seed, line in cells.get(method, {}).items()}


def change(after: dict[str, float], before: dict[str, float]) -> Spread | None:
    """Seed by seed, of the seeds that both have."""
    return spread([score - before[seed] for seed, score in after.items() if seed in before])


def verdict(gained: Spread | None) -> str:
    """Whether it has converged."""
    if gained is None:
        return ""
    # Scores are fractions of some hundred texts: rounding is not improvement.
    return "no" if gained.mean > STILL_IMPROVING + 1e-9 else "yes"


def rows_of(short: Cells, long_cells: Cells) -> list[list[str]]:
    """One line a method, in the order of the long comparison's file."""
    lines = []
    reference = row_of_cells(REFERENCE, long_cells) if REFERENCE in long_cells else None
    for method in long_cells:
        row = row_of_cells(method, long_cells)
        validation = scores(long_cells, method, VALIDATION)
        gained = change(validation, scores(short, method, VALIDATION))
        tested = change(scores(long_cells, method, TEST), scores(short, method, TEST))
        lines.append(
            [
                method,
                shown_uplink(row),
                shown_both_ways(row, reference),
                shown(spread(list(validation.values()))),
                shown(gained, sign="+"),
                verdict(gained),
                shown(row.test_score),
                shown(tested, sign="+"),
                "" if method == REFERENCE else shown(row.difference, sign="+"),
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
                "both ways",
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
