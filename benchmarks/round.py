"""The same federated job by fedtt, by Flower's simulation, and by one process, client by client.

    python benchmarks/round.py [--clients 10 100] [--rounds 3] [--steps 10] [--json FILE]

MiniLM on SST-2 (``--path FILE --column NAME`` takes another file): every client takes part in every
round and trains ``--steps`` steps with eight texts of its own. fedtt trains the cohort in one step,
its base model in the type that it chooses for the processor, or in float32; the others train PEFT's
LoRA, r=8, as their users do: a client loads the global weights into the one model of its process,
trains, and hands its weights back. The limit is the frozen base model's forward and backward alone,
over the texts of a round in order of length, as many forwards as steps: what no adapter and no
engine can be without. Flower's simulation runs them in Ray actors, a processor each; an actor keeps
its model from one client to the next. Each engine runs in a process of its own, with one thread a
processor that it uses. Total is the whole process, imports and model included; a round
is the mean of those after the first. Memory is the peak of the process tree's resident sizes,
sampled, shared pages divided among those who share them where the system tells (PSS). Needs `pip
install "fedtt[bench]"` for Flower.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from report import describe_machine, print_table, write_json

SST2 = Path(__file__).parents[2] / "shared" / "data" / "glue" / "sst2" / "train.parquet"
ENGINES = (
    "fedtt",
    "fedtt, float32",
    "fedtt, LoRA",
    "the limit",
    "the limit, float32",
    "client by client",
    "Flower simulation",
)
ROWS = 8
JOB = "FEDTT_BENCHMARK_JOB"  # how a Ray actor learns what the job is
_ACTOR: dict[str, Any] = {}  # an actor's federation, from one client to the next


def build(job: dict[str, Any], *, method: str, dtype: str = "float32") -> Any:
    """The job's federation: model, clients, tokens."""
    import torch

    from fedtt.config import parse_config
    from fedtt.engine.build import build_federation, resolve_auto

    torch.set_num_threads(job["threads"])
    table = {
        "rounds": job["rounds"],
        "model": {"name": "minilm", "max_length": 64, "dropout": 0.0, "dtype": dtype},
        "data": {
            "path": job["path"],
            "text_column": job["column"],
            "examples": job["clients"] * ROWS * job["steps"] + 2000,
        },
        "partition": {"kind": "iid", "clients": job["clients"]},
        "method": {"name": method, "rank": 5 if method == "fedtt" else 8},
        "client": {"steps": job["steps"], "batch_size": ROWS, "learning_rate": 2e-3},
    }
    return build_federation(resolve_auto(parse_config(table, where="benchmarks/round.py")))


def run_fedtt(job: dict[str, Any], *, method: str, dtype: str) -> list[float]:
    """Seconds of every round."""
    from fedtt.engine.inprocess import local_clients
    from fedtt.engine.token_budget import auto_max_tokens
    from fedtt.federated.cohort import Cohorts
    from fedtt.federated.round import run_round

    federation = build(job, method=method, dtype=dtype)
    state, seconds = federation.initial, []
    budget = auto_max_tokens(federation.model, model_class=federation.task.model_class)
    call = local_clients(federation, state=state, seed=0, max_tokens=budget)
    for _ in range(job["rounds"]):
        began = time.perf_counter()
        state, _ = run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, seed=0),
            learning_rate=2e-3,
            call_clients=call,
        )
        seconds.append(time.perf_counter() - began)
    return seconds


def train_client(federation: Any, weights: Any, *, client_id: str, round_index: int) -> Any:
    """A client's weights after its local steps, as a user of PEFT writes it."""
    import torch

    from fedtt.data import collate, step_batches

    model = federation.model
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
    trained = [own[name] for name in weights]
    for parameter in trained:
        parameter.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(trained, lr=2e-3)
    model.train()
    texts = federation.splits["train"][client_id]
    order = step_batches(
        texts.lengths, batch_size=ROWS, steps=federation.training.steps, seed=round_index
    )
    for indices in order:
        batch = collate(texts, indices, pad_token_id=federation.tokenizer.pad_token_id)
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return {name: own[name].detach().clone() for name in weights}


def run_limit(job: dict[str, Any], *, dtype: str) -> list[float]:
    """Seconds of the forwards and backwards of every round; the batches are ready before."""
    from step import frozen_step

    from fedtt.data import collate, evaluation_batches, stack_batches, step_batches
    from fedtt.engine.freed_memory import keep_freed_memory

    federation = build(job, method="fedtt", dtype=dtype)
    keep_freed_memory()  # as fedtt does
    model, pad, seconds = federation.model.unload(), federation.tokenizer.pad_token_id, []
    for round_index in range(job["rounds"]):
        read = []
        for client_id in federation.population:
            texts = federation.splits["train"][client_id]
            order = step_batches(
                texts.lengths, batch_size=ROWS, steps=job["steps"], seed=round_index
            )
            read += [collate(texts, [i], pad_token_id=pad) for batch in order for i in batch]
        lengths = [text["input_ids"].numel() for text in read]
        batches = [
            stack_batches([read[i] for i in alike], pad_token_id=pad)
            for alike in evaluation_batches(lengths, job["clients"] * ROWS)
        ]
        steps = [frozen_step(model, batch) for batch in batches]
        began = time.perf_counter()
        for step in steps:
            step()
        seconds.append(time.perf_counter() - began)
    return seconds


def run_one_by_one(job: dict[str, Any]) -> list[float]:
    """Seconds of every round of one process that trains client after client."""
    federation = build(job, method="lora")
    weights, seconds = dict(federation.initial.params), []
    for round_index in range(job["rounds"]):
        began = time.perf_counter()
        total = {name: value * 0 for name, value in weights.items()}
        for client_id in federation.population:
            update = train_client(federation, weights, client_id=client_id, round_index=round_index)
            total = {name: total[name] + update[name] for name in total}
        weights = {name: value / job["clients"] for name, value in total.items()}
        seconds.append(time.perf_counter() - began)
    return seconds


def run_flower(job: dict[str, Any]) -> list[float]:
    """Seconds of every round of Flower's simulation engine."""
    os.environ |= {
        JOB: json.dumps(job),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    from flwr.app import ArrayRecord
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    client = ClientApp()
    client.train()(_flower_client)
    server, ends = ServerApp(), []

    class Timed(FedAvg):  # type: ignore[misc]  # where Flower is not installed it is Any
        """Flower's own, with a clock."""

        def aggregate_train(self, *args: Any, **kwargs: Any) -> Any:
            """When a round's replies are in."""
            result = super().aggregate_train(*args, **kwargs)
            ends.append(time.perf_counter())
            return result

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Any, context: Any) -> None:  # noqa: ARG001 (Flower's signature)
        federation = build(job, method="lora")
        weights = dict(federation.initial.params)
        strategy = Timed(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=1)
        ends.append(time.perf_counter())
        strategy.start(grid=grid, initial_arrays=ArrayRecord(weights), num_rounds=job["rounds"])

    resources = {"num_cpus": 1, "num_gpus": 0.0}
    run_simulation(
        server,
        client,
        num_supernodes=job["clients"],
        backend_config={"client_resources": resources},
    )
    return [after - before for before, after in pairwise(ends)]


def _flower_client(message: Any, context: Any) -> Any:
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    if "federation" not in _ACTOR:
        _ACTOR["federation"] = build({**json.loads(os.environ[JOB]), "threads": 1}, method="lora")
    federation = _ACTOR["federation"]
    client_id = federation.population[int(context.node_config["partition-id"])]
    config = message.content["config"]
    weights = train_client(
        federation,
        message.content["arrays"].to_torch_state_dict(),
        client_id=client_id,
        round_index=int(config["server-round"]),
    )
    arrays = ArrayRecord(weights)
    metrics = MetricRecord({"num-examples": len(federation.splits["train"][client_id])})
    content = RecordDict({"arrays": arrays, "metrics": metrics})
    return Message(content=content, reply_to=message)


def run_one(job: dict[str, Any]) -> list[float]:
    """The job by its engine, in this process."""
    dtype = "float32" if "float32" in job["engine"] else "auto"
    if job["engine"].startswith("fedtt"):
        method = "lora" if "LoRA" in job["engine"] else "fedtt"
        return run_fedtt(job, method=method, dtype=dtype)
    if job["engine"].startswith("the limit"):
        return run_limit(job, dtype=dtype)
    return run_flower(job) if "Flower" in job["engine"] else run_one_by_one(job)


def tree_bytes(root: int) -> int:
    """Memory of a process and of all that came from it."""
    return sum(_bytes(pid) for pid in _tree(root))


def _tree(root: int) -> Iterator[int]:
    yield root
    for children in Path(f"/proc/{root}/task").glob("*/children"):
        try:
            pids = children.read_text(encoding="ascii").split()
        except OSError:  # it has ended
            continue
        for pid in pids:
            yield from _tree(int(pid))


def _bytes(pid: int) -> int:
    for name, key in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(key)]
        if found:
            return found[0]
    return 0


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run the job in a process of its own and watch it."""
    began, peak = time.perf_counter(), 0
    command = [sys.executable, __file__, "--one", json.dumps(job)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        output: list[str] = []
        reader = threading.Thread(target=lambda: output.extend(started.communicate()), daemon=True)
        reader.start()
        while reader.is_alive():
            peak = max(peak, tree_bytes(started.pid))
            reader.join(timeout=0.2)
    if started.returncode:
        return {"error": output[1].strip().splitlines()[-1] if output[1].strip() else "failed"}
    seconds = json.loads(output[0].splitlines()[-1])
    later = seconds[1:] or seconds
    return {
        "total_seconds": time.perf_counter() - began,
        "first_round_seconds": seconds[0],
        "round_seconds": sum(later) / len(later),
        "peak_mib": peak / 2**20,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--path", type=Path, default=SST2)
    parser.add_argument("--column", default="sentence")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_one(json.loads(arguments.one))))
        return
    machine = describe_machine("peft", "flwr", "ray")
    print(f"{machine}\n")
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    rows = []
    for clients in arguments.clients:
        for engine in arguments.engines:
            job = {
                "engine": engine,
                "clients": clients,
                "rounds": arguments.rounds,
                "steps": arguments.steps,
                "path": str(arguments.path),
                "column": arguments.column,
                "threads": os.cpu_count(),
            }
            taken = measure(job)
            name = f"{engine}, {clients} clients"
            figures[name] = taken
            base = figures.get(f"fedtt, {clients} clients", taken)
            if "error" in taken:
                rows.append((clients, engine, taken["error"], "", "", "", ""))
                continue
            for key in ("round_seconds", "total_seconds", "peak_mib"):
                ratios[f"{name}, {key}"] = taken[key] / base[key]
            rows.append(
                (
                    clients,
                    engine,
                    f"{taken['total_seconds']:.1f}",
                    f"{taken['first_round_seconds']:.1f}",
                    f"{taken['round_seconds']:.2f}",
                    f"{taken['round_seconds'] / base['round_seconds']:.2f}",
                    f"{taken['peak_mib']:.0f}",
                )
            )
    header = ("clients", "engine", "total s", "first round s", "later s", "times fedtt", "peak MiB")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
