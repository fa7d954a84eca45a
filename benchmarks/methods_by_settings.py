"""A comparison of methods over settings as one matrix, for docs/defenses.md and docs/privacy.md.

    python benchmarks/methods_by_settings.py FILE [--column NAME] [--less METHOD@SETTING]

FILE is a ``results.csv`` of ``fedtt compare``. A row is a method, a column a setting, a cell the
mean over seeds and its sample deviation (n - 1); with ``--less`` of what each lies above that
method in that setting, seed by seed.
"""

import argparse
from pathlib import Path

from accuracy_by_bytes import finished_lines, shown
from report import print_table

from fedtt.experiment.comparison.cell_statistics import spread

Scores = dict[tuple[str, str], dict[str, float]]  # (method, setting) -> seed -> a number


def read_scores(path: Path, *, column: str) -> Scores:
    """That column of all finished cells; cells that have none are left out."""
    scores: Scores = {}
    for line in finished_lines(path):
        if column not in line:
            raise SystemExit(f"{path} has no column {column}: {', '.join(line)}")
        if line[column]:
            cell = scores.setdefault((line["method"], line["setting"]), {})
            cell[line["seed"]] = float(line[column])
    return scores


def less(scores: Scores, base: dict[str, float]) -> Scores:
    """Every score less the base's of the same seed."""
    return {
        place: {seed: score - base[seed] for seed, score in own.items() if seed in base}
        for place, own in scores.items()
    }


def main() -> None:
    """Print the matrix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--column", default="test_accuracy")
    parser.add_argument("--less", metavar="METHOD@SETTING")
    asked = parser.parse_args()
    scores = read_scores(asked.file, column=asked.column)
    methods = dict.fromkeys(method for method, _ in scores)
    settings = dict.fromkeys(setting for _, setting in scores)
    if asked.less is not None:
        method, _, setting = asked.less.partition("@")
        if (method, setting) not in scores:
            raise SystemExit(f"{asked.file} has no finished cell of {method!r} in {setting!r}")
        scores = less(scores, scores[method, setting])
    print_table(
        ["method", *settings],
        [
            [
                method,
                *(
                    shown(
                        spread(list(scores.get((method, setting), {}).values())),
                        sign="+" if asked.less else "",
                    )
                    for setting in settings
                ),
            ]
            for method in methods
        ],
    )


if __name__ == "__main__":
    main()
