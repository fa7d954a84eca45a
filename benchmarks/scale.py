"""What a large population and a large cohort cost: seconds and memory of a round of MiniLM.

    python benchmarks/scale.py [--rows 250000] [--path FILE --column NAME] [--json FILE]

Every row of the table is a process of its own: it deals the same texts out to that many clients,
tokenizes, loads the model, and runs three rounds of FedTT in which everyone called takes one step
with two texts. Memory is the process's resident size after the last round, and its peak. SST-2
where ../shared/data has it, else a file of your own; its texts are numbered and repeated up to
``--rows``, so that 100,000 clients have one each at least. One thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report import describe_machine, print_table, write_json

from fedtt.config import parse_config
from fedtt.engine.build import build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.engine.token_budget import auto_max_tokens
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round

SST2 = Path(__file__).parents[2] / "shared" / "data" / "glue" / "sst2" / "train.parquet"
POPULATIONS = (10, 1000, 10_000, 100_000)
COHORTS = (1, 4, 16, 64, 256)
COHORT, POPULATION = 10, 1000  # of the rows in which the other one varies
ROUNDS = 3


def write_texts(source: Path, column: str, *, rows: int, to: Path) -> None:
    """Numbered copies of the texts, with labels in turn."""
    texts = pq.read_table(source, columns=[column])[column].to_pylist()
    many = [f"{texts[i % len(texts)]} ({i})" for i in range(rows)]
    pq.write_table(pa.table({"text": many, "label": [i % 2 for i in range(rows)]}), to)


def measure(path: Path, *, population: int, cohort: int) -> dict[str, float]:
    """Seconds to build and a round, MiB held at the end and at most."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    table = {
        "rounds": ROUNDS,
        "model": {"name": "minilm", "max_length": 32, "dropout": 0.0},
        "data": {"path": str(path), "validation": 0.001, "test": 0.001},
        "partition": {"kind": "iid", "clients": population, "min_examples": 1},
        "method": {"name": "fedtt", "rank": 5},
        "cohort": {"size": cohort},
        "client": {"steps": 1, "batch_size": 2, "learning_rate": 5e-3},
    }
    federation = build_federation(parse_config(table, where="benchmarks/scale.py"))
    built = time.perf_counter() - began
    state = federation.initial
    call = local_clients(
        federation,
        state=state,
        seed=0,
        max_tokens=auto_max_tokens(federation.model, model_class=federation.task.model_class),
    )
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        state, _ = run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, cohort_size=cohort, seed=0),
            learning_rate=5e-3,
            call_clients=call,
        )
        seconds.append(time.perf_counter() - began)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "build_seconds": built,
        "round_seconds": min(seconds),
        "held_mib": pages * resource.getpagesize() / 2**20,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
    }


def in_a_process(path: Path, *, population: int, cohort: int) -> dict[str, float]:
    """``measure`` with nothing else in the process."""
    command = [sys.executable, __file__, "--one", str(path), str(population), str(cohort)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--path", type=Path, default=SST2)
    parser.add_argument("--column", default="sentence")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        path, population, cohort = arguments.one
        print(json.dumps(measure(Path(path), population=int(population), cohort=int(cohort))))
        return
    torch.set_num_threads(1)
    machine = describe_machine("transformers")
    print(f"{machine}\n{arguments.rows:,} texts\n")
    cases = [(population, COHORT) for population in POPULATIONS]
    cases += [(POPULATION, cohort) for cohort in COHORTS]
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="fedtt-") as folder:
        texts = Path(folder) / "texts.parquet"
        write_texts(arguments.path, arguments.column, rows=arguments.rows, to=texts)
        for population, cohort in cases:
            taken = in_a_process(texts, population=population, cohort=cohort)
            figures[f"population {population}, cohort {cohort}"] = taken
    first = figures[f"population {POPULATIONS[0]}, cohort {COHORT}"]
    single = figures[f"population {POPULATION}, cohort {COHORTS[0]}"]
    ratios = {}
    for (_, cohort), (name, taken) in zip(cases, figures.items(), strict=True):
        base = first if cohort == COHORT else single
        for key in ("round_seconds", "held_mib"):
            ratios[f"{name}, {key}"] = taken[key] / base[key]
    rows = [
        (
            f"{population:,}",
            cohort,
            f"{taken['build_seconds']:.1f}",
            f"{taken['round_seconds']:.2f}",
            f"{taken['round_seconds'] / cohort * 1e3:.0f}",
            f"{taken['held_mib']:.0f}",
            f"{taken['peak_mib']:.0f}",
        )
        for (population, cohort), taken in zip(cases, figures.values(), strict=True)
    ]
    header = ("population", "cohort", "build s", "round s", "ms a client", "held MiB", "peak MiB")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
