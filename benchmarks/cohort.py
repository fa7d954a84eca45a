"""A step of a cohort: batched, one by one, and as one batch of as many rows of one client.

    python benchmarks/cohort.py [--path FILE --column NAME] [--dtype float32] [--rounds 3]
        [--json FILE]

SST-2 where ../shared/data has it, else a file of your own with that column of texts. A number is
the time of a round's local training, divided by its local steps; the rounds of the three ways
alternate, and the fastest of each counts. Tokens are those that go through the model, padding
included. One thread.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.engine.token_budget import auto_max_tokens
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import CallClients, ClientReply, ClientTask, run_round

SST2 = Path(__file__).parents[2] / "shared" / "data" / "glue" / "sst2" / "train.parquet"
COHORTS = ((4, 8), (8, 4), (32, 2))
METHODS = {
    "fedtt": {"name": "fedtt", "rank": 5},
    "lora": {"name": "lora", "rank": 8},
}


def config_of(arguments: argparse.Namespace, method: str, *, clients: int, rows: int) -> RunConfig:
    """A run of that many clients with that many rows a batch."""
    table = {
        "rounds": 1,
        "model": {
            "name": arguments.model,
            "max_length": 64,
            "dropout": arguments.dropout,
            "dtype": arguments.dtype,
        },
        "data": {"path": str(arguments.path), "text_column": arguments.column, "examples": 4000},
        "partition": {"kind": "iid", "clients": clients},
        "method": METHODS[method],
        "client": {"steps": arguments.steps, "batch_size": rows, "learning_rate": 5e-3},
    }
    return parse_config(table, where="benchmarks/cohort.py")


def engine(federation: Federation, *, max_tokens: int | None) -> CallClients:
    """The clients of the federation, in that way."""
    return local_clients(
        federation,
        state=federation.initial,
        seed=0,
        max_tokens=max_tokens,
    )


def measure(federation: Federation, call: CallClients, *, steps: int) -> tuple[float, int]:
    """Seconds of the local training of one round, a step, and tokens a step."""
    tokens = 0

    def count(_module: object, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
        nonlocal tokens
        tokens += kwargs["input_ids"].numel()

    spent = 0.0

    def timed(tasks: Iterable[ClientTask]) -> Iterable[ClientReply]:
        nonlocal spent
        listed = list(tasks)
        began = time.perf_counter()
        replies = list(call(listed))
        spent = time.perf_counter() - began
        return replies

    hook = federation.model.register_forward_pre_hook(count, with_kwargs=True)
    run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=0),
        learning_rate=5e-3,
        call_clients=timed,
    )
    hook.remove()
    return spent / steps, tokens // steps


def ways_of(
    arguments: argparse.Namespace, method: str, *, clients: int, rows: int
) -> dict[str, tuple[Federation, CallClients]]:
    """Way -> who trains, and how."""
    cohort = build_federation(config_of(arguments, method, clients=clients, rows=rows))
    union = build_federation(config_of(arguments, method, clients=1, rows=clients * rows))
    budget = auto_max_tokens(cohort.model, model_class=cohort.task.model_class)
    return {
        "one by one": (cohort, engine(cohort, max_tokens=None)),
        "batched": (cohort, engine(cohort, max_tokens=budget)),
        "one batch": (union, engine(union, max_tokens=None)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--path", type=Path, default=SST2)
    parser.add_argument("--column", default="sentence")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}", end=", ")
    print(f"{platform.processor() or platform.machine()}, one thread\n")
    print("| method | clients x rows | way | ms a step | tokens a step | times one batch |")
    print("|---|---|---|---|---|---|")
    for method in METHODS:
        for clients, rows in COHORTS:
            ways = ways_of(arguments, method, clients=clients, rows=rows)
            best: dict[str, tuple[float, int]] = {}
            for turn in range(arguments.rounds + 1):
                for way, (federation, call) in ways.items():
                    taken = measure(federation, call, steps=arguments.steps)
                    if turn:  # the first round warms up
                        best[way] = min(best.get(way, taken), taken)
            reference = best["one batch"][0]
            for way, (seconds, tokens) in best.items():
                name = f"{method}, {clients} x {rows}, {way}"
                ratios[name] = seconds / reference
                cells = f"{1e3 * seconds:.0f} | {tokens} | {seconds / reference:.2f}"
                print(f"| {method} | {clients} x {rows} | {way} | {cells} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
