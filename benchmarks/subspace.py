"""What a subspace adds to a local step, and what drawing it costs, beside the plain method.

    python benchmarks/subspace.py [--model minilm] [--rank 8] [--sizes 700 7000] [--rows 16]
        [--length 32] [--steps 12] [--turns 5] [--json FILE]

A client's whole local training as every engine runs it (``train_locally``: forward, backward,
clipping, weight decay, AdamW), the same batches plain and in a subspace of each size; turns
alternate, times are medians a step. Then, from shapes alone, the draw at LLaMA-2-7B's size (LoRA
rank 8 of q and v). One thread.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from report import describe_machine, print_table, write_json

from fedtt import params as p
from fedtt.config import RunConfig, parse_config
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import model_class_of
from fedtt.engine.cost import exchanged_kinds
from fedtt.federated.local.alone import train_locally
from fedtt.federated.local.client import LocalClient
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.subspace import Projection, Subspace
from fedtt.params import TensorSpec

LLAMA = {f"layers.{i:02}": TensorSpec(shape=(131_072,), dtype=torch.float32) for i in range(32)}


def config_of(arguments: argparse.Namespace) -> RunConfig:
    """Enough of a run to build its model."""
    table = {
        "rounds": 1,
        "model": {"name": arguments.model, "dropout": 0.0, "dtype": "float32"},
        "data": {"path": "unused.csv"},
        "method": {"name": "lora", "rank": arguments.rank},
    }
    return parse_config(table, where="benchmarks/subspace.py")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[700, 7000])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine("transformers", "peft")
    print(machine)

    config = config_of(arguments)
    method = build_method(config.method, task=model_class_of(config.task))
    model = build_model(config, method, label_names=("no", "yes"), pad_token_id=0)
    start = p.read_params(model, exchanged_kinds(model, method))
    structure = p.structure_of(start)
    stream = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (arguments.rows, arguments.length), generator=stream)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.arange(arguments.rows) % 2,
    }

    def seconds_a_step(projection: Projection | None) -> float:
        client = LocalClient(
            start=start,
            batches=[batch] * arguments.steps,
            num_examples=arguments.rows,
            dropout_seed=0,
            where="benchmark",
            loss=lambda net, rows: net(**rows).loss,
        )
        began = time.perf_counter()
        train_locally(
            model, client, learning_rate=1e-3, training=LocalTraining(), projection=projection
        )
        seconds = time.perf_counter() - began
        return seconds / int(arguments.steps)

    kinds: dict[str, Projection | None] = {"plain": None}
    draws: dict[str, float] = {}
    for size in arguments.sizes:
        began = time.perf_counter()
        kinds[f"{size:,} numbers"] = Subspace(size=size).projection(structure, 0)
        draws[f"{size:,} numbers"] = time.perf_counter() - began
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(arguments.turns + 1):
        for name, projection in kinds.items():
            taken = seconds_a_step(projection)
            if turn:  # the first one warms up
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    parameters = sum(spec.num_elements for spec in structure.values())
    print(f"\n{arguments.model}, LoRA r={arguments.rank}: {parameters:,} parameters")
    print_table(
        ["", "ms a step", "against plain", "ms to draw"],
        [
            [
                name,
                f"{1e3 * seconds:.1f}",
                f"{seconds / medians['plain']:.3f}",
                f"{1e3 * draws[name]:.1f}" if name in draws else "",
            ]
            for name, seconds in medians.items()
        ],
    )
    began = time.perf_counter()
    Subspace(size=7000).projection(LLAMA, 0)
    llama = time.perf_counter() - began
    print(f"\nLLaMA-2-7B, LoRA r=8 of q and v, 4,194,304 parameters: drawn in {llama:.2f} s")
    ratios = {name: seconds / medians["plain"] for name, seconds in medians.items()}
    figures = {"seconds_a_step": medians, "seconds_to_draw": {**draws, "LLaMA-2-7B": llama}}
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
