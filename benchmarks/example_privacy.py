"""A step of DP-SGD beside a plain step: seconds, and the most memory at once.

    python benchmarks/example_privacy.py [--model minilm] [--rows 16] [--length 32] [--json FILE]

Every variant runs in a process of its own, whose peak of resident memory is taken less what it had
with the model loaded. ``plain`` is forward, backward, clipping and AdamW of a batch. ``private`` is
the same batch as clients take it under ``[privacy.example]``: the gradients of all examples in one
backward, clipped, summed in whole numbers, noise by ChaCha20, AdamW. ``one by one`` takes them one
after another, as what cannot be stacked does. ``opacus``, where it is installed (it is none of the
project's packages), is its GradSampleModule and DPOptimizer on the same LoRA. The same random
tokens for all, every row of the whole length; one thread; medians of steps.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from report import describe_machine, print_table, write_json
from torch import nn

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import model_class_of
from fedtt.federated.local.example_gradients import gradients_one_by_one, stacked_gradients
from fedtt.federated.local.moving import ByParameter
from fedtt.federated.local.needed_logits import LogitLoss
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.privacy.example_step import ExampleMechanism, clipped_sum
from fedtt.federated.privacy.keystream import secret_streams

METHODS: dict[str, dict[str, object]] = {
    "fedtt": {"name": "fedtt", "rank": 5},
    "lora r=8": {"name": "lora", "rank": 8},
}
PLAIN = "plain"
VARIANTS = (PLAIN, "private", "one by one", "opacus")
WARM = 2
Step = Callable[[], None]
Batch = dict[str, torch.Tensor]


def config_of(model: str, method: dict[str, object]) -> RunConfig:
    """Enough of a run to build its model."""
    table = {
        "rounds": 1,
        "model": {"name": model, "dropout": 0.0, "dtype": "float32"},
        "data": {"path": "unused.csv"},
        "method": method,
    }
    return parse_config(table, where="benchmarks/example_privacy.py")


def loss_of(logits: torch.Tensor, batch: Any) -> torch.Tensor:
    """Mean cross-entropy."""
    return nn.functional.cross_entropy(logits, batch["labels"])


def loss_of_model(model: nn.Module, batch: Any) -> torch.Tensor:
    """The same, of the model."""
    inputs = {key: tensor for key, tensor in batch.items() if key != "labels"}
    return loss_of(model(**inputs).logits, batch)


def plain_step(model: nn.Module, weights: dict[str, nn.Parameter], batch: Batch) -> Step:
    """As a client takes it without privacy."""
    optimizer = torch.optim.AdamW(list(weights.values()), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss_of_model(model, batch).backward()
        nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
        optimizer.step()

    return step


def private_step(
    model: nn.Module, weights: dict[str, nn.Parameter], batch: Batch, *, stacked: bool
) -> Step:
    """As ``train_privately`` takes it."""
    gradients = (
        stacked_gradients(LogitLoss(of=loss_of)) if stacked else gradients_one_by_one(loss_of_model)
    )
    origin = {name: weight.detach().clone() for name, weight in weights.items()}
    training = LocalTraining(max_grad_norm=None)
    moving = ByParameter(weights, origin, training=training, learning_rate=1e-4, kept=None)
    mechanism = ExampleMechanism(
        clipping_norm=1.0,
        noise_multiplier=1.0,
        examples=1000,
        batch_size=len(batch["labels"]),
        streams=secret_streams(bytes(32)),
    )
    numbers = iter(range(10**9))

    def step() -> None:
        rows = gradients(model, weights, batch)
        total = clipped_sum(rows, clipping_norm=mechanism.clipping_norm)
        moving.step_along(mechanism.release(total, step=next(numbers)))

    return step


def opacus_step(model: nn.Module, weights: dict[str, nn.Parameter], batch: Batch) -> Step:
    """GradSampleModule and DPOptimizer."""
    from opacus import GradSampleModule  # type: ignore[import-not-found]
    from opacus.optimizers import DPOptimizer  # type: ignore[import-not-found]

    wrapped = GradSampleModule(model, strict=False)
    optimizer = DPOptimizer(
        torch.optim.AdamW(list(weights.values()), lr=1e-4, fused=True),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=len(batch["labels"]),
    )

    def step() -> None:
        optimizer.zero_grad()
        loss_of_model(wrapped, batch).backward()
        optimizer.step()

    return step


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """One variant, in this process."""
    torch.set_num_threads(1)
    config = config_of(arguments.model, METHODS[arguments.method])
    method = build_method(config.method, task=model_class_of(config.task), server=config.server)
    model = build_model(config, method, label_names=("no", "yes"), pad_token_id=0)
    model.train()
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (arguments.rows, arguments.length), generator=generator)
    labels = torch.arange(arguments.rows) % 2
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    steps: dict[str, Callable[[], Step]] = {
        PLAIN: lambda: plain_step(model, weights, batch),
        "private": lambda: private_step(model, weights, batch, stacked=True),
        "one by one": lambda: private_step(model, weights, batch, stacked=False),
        "opacus": lambda: opacus_step(model, weights, batch),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = steps[arguments.variant]()
    taken = []
    for _ in range(arguments.turns + WARM):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(taken[WARM:]), "mib": (peak - before) / 1024}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments)))
        return
    torch.set_num_threads(1)
    machine = describe_machine("peft", "opacus")
    print(f"{machine}; {arguments.rows} texts x {arguments.length} tokens, float32\n")
    ratios: dict[str, float] = {}
    figures: dict[str, object] = {}
    rows = []
    for method in METHODS:
        found: dict[str, dict[str, float]] = {}
        for variant in VARIANTS:
            if variant == "opacus" and (find_spec("opacus") is None or method == "fedtt"):
                continue  # it knows torch's own layers alone
            command = [sys.executable, __file__, "--model", arguments.model, "--method", method]
            command += ["--variant", variant, "--rows", str(arguments.rows)]
            command += ["--length", str(arguments.length), "--turns", str(arguments.turns)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[variant] = json.loads(done.stdout.splitlines()[-1])
        plain = found[PLAIN]
        for variant, one in found.items():
            slower, larger = one["seconds"] / plain["seconds"], one["mib"] / plain["mib"]
            ratios |= {f"{method}, {variant}, time": slower, f"{method}, {variant}, mib": larger}
            figures[f"{method}, {variant}"] = one
            rows.append(
                (method, variant, f"{1e3 * one['seconds']:.0f}", f"{slower:.2f}",
                 f"{one['mib']:.0f}", f"{larger:.2f}")
            )  # fmt: skip
    header = ("method", "step", "ms", "times plain", "MiB at most", "times plain")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
