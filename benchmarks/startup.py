"""Seconds until the program answers, and until the first round begins; what is imported for it.

    python benchmarks/startup.py [--turns 5] [--json FILE]

Every command is a process of its own; turns alternate, times are medians of wall clock. ``import
torch, transformers, peft`` is the limit of a command that builds a model: what it takes is
the libraries' own. A run is the job of presets/parity.toml with one round; its start is what lies
before that round: imports, data, model, and the check of both. A first turn is left out.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import describe_machine, print_table, write_json

from fedtt.experiment.round_tail import read_rounds
from fedtt.run_place import ROUNDS

PRESET = Path(__file__).parents[1] / "presets" / "parity.toml"
FEDTT = ("-m", "fedtt")
HEAVY = ("torch", "transformers", "peft", "pandas", "pyarrow", "flwr", "matplotlib")
LIMIT = "import torch, transformers, peft"
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    LIMIT: ("-c", LIMIT),
    "fedtt --help": (*FEDTT, "--help"),
    "fedtt data list": (*FEDTT, "data", "list"),
    "fedtt data preview": (*FEDTT, "data", "preview", str(PRESET)),
    "fedtt cost": (*FEDTT, "cost", "--model", "minilm", "--method", "fedtt"),
}
START = "start of a run"


def seconds_of(arguments: tuple[str, ...]) -> float:
    """Wall clock of one process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


def modules_of(arguments: tuple[str, ...]) -> set[str]:
    """What that process imports, by ``-X importtime``."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], check=True, capture_output=True, text=True
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}


def run_arguments(run: Path) -> tuple[str, ...]:
    """A run of one round without validation."""
    overrides = [f"--set={key}" for key in ("rounds=1", "evaluation.every=0")]
    return (*FEDTT, "train", str(PRESET), "--run", str(run), "--quiet", *overrides)


def seconds_before_the_first_round(folder: Path, turn: int) -> float:
    """From the process's start to that of its round: when its record is written, less its time."""
    run = folder / f"run-{turn}"
    begun = time.time()
    subprocess.run([sys.executable, *run_arguments(run)], check=True, capture_output=True)
    ended = (run / ROUNDS).stat().st_mtime
    return ended - begun - float(next(read_rounds(run))["seconds"])


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in (*COMMANDS, START)}
    with tempfile.TemporaryDirectory(prefix="fedtt-") as name:
        folder = Path(name)
        for turn in range(arguments.turns + 1):
            for title, command in COMMANDS.items():
                times[title].append(seconds_of(command))
            times[START].append(seconds_before_the_first_round(folder, turn))
        modules = {title: modules_of(command) for title, command in COMMANDS.items()}
        modules[START] = modules_of(run_arguments(folder / "imports"))
    medians = {title: statistics.median(all_of[1:]) for title, all_of in times.items()}
    machine = describe_machine("transformers", "peft")
    print(machine)
    rows = [
        (
            title,
            f"{seconds:.2f}",
            f"{seconds / medians[LIMIT]:.2f}",
            len(modules[title]),
            ", ".join(name for name in HEAVY if name in modules[title]),
        )
        for title, seconds in medians.items()
    ]
    print_table(("process", "s", "of the limit", "modules", "of them"), rows)
    write_json(
        arguments.json,
        ratios={title: seconds / medians[LIMIT] for title, seconds in medians.items()},
        figures={"seconds": times, "modules": {t: len(m) for t, m in modules.items()}},
        machine=machine,
    )


if __name__ == "__main__":
    main()
