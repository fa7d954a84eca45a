"""A local training step against the frozen model alone: how near the adapters come to the limit.

    python benchmarks/step.py [--models minilm smollm2] [--rows 8] [--length 32]
        [--dtype float32] [--compile] [--give-back] [--json FILE]

The limit is the base model's own forward and the backward through its activations, down to the
embeddings, with no weight trained: what any adapter in the first block costs at least. A method's
step is forward, backward and optimizer (AdamW, fused, with clipping) of the same batch. Turns
alternate; times are medians, and so are ratios, each of two times of one turn: a machine that slows
down for some turns does not change them. The same random tokens for all, every row of the whole
length. One thread. ``--compile`` adds each method's step with the model compiled by
``torch.compile``, and the seconds of its first step: what has to be won back first. Pages are those
that the system hands out in a step: with ``--give-back`` what it freed is given back, as glibc does
where :mod:`fedtt.engine.freed_memory` has not told it otherwise. Calls are torch's operators in a
step, but for those that only look at memory another way: on a GPU most are a kernel. *Layer by
layer* is FedTT where every layer contracts its own cores.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from operator import truediv
from pathlib import Path
from typing import Any

import torch
from report import describe_machine, print_table, write_json
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from fedtt.config import RunConfig, parse_config
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import model_class_of
from fedtt.engine.freed_memory import keep_freed_memory
from fedtt.peft import contracted_together

METHODS: dict[str, dict[str, object]] = {
    "fedtt": {"name": "fedtt", "rank": 5},
    "fedtt+ cycle": {"name": "fedtt+", "rank": 5, "schedule": "cycle"},
    "lora r=8": {"name": "lora", "rank": 8},
    "metatt r=8": {"name": "metatt", "rank": 8},
    "houlsby": {"name": "adapter"},
}
LAYER_BY_LAYER = "fedtt, layer by layer"
# Operators that compute nothing.
VIEWS = {"alias", "as_strided", "detach", "empty", "expand", "permute", "select", "slice", "split"}
VIEWS |= {"_unsafe_view", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"}
TASKS = {"minilm": "classification", "smollm2": "language-modeling"}


def config_of(model: str, method: dict[str, object], *, dtype: str) -> RunConfig:
    """Enough of a run to build its model."""
    table = {
        "rounds": 1,
        "model": {"name": model, "dropout": 0.0, "dtype": dtype},
        "data": {"path": "unused.csv"},
        "task": {"kind": TASKS.get(model, "classification")},
        "method": method,
    }
    return parse_config(table, where="benchmarks/step.py")


class Calls(TorchDispatchMode):
    """Counts torch's operators."""

    number: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.number += func._schema.name.removeprefix("aten::") not in VIEWS
        return func(*args, **(kwargs or {}))


def calls_of(step: Callable[[], None]) -> int:
    """Torch's operators in a step."""
    calls = Calls()  # type: ignore[no-untyped-call]
    with calls:
        step()
    return calls.number


def adapted_step(
    config: RunConfig,
    batch: dict[str, torch.Tensor],
    *,
    compiled: bool = False,
    layer_by_layer: bool = False,
) -> Callable[[], None]:
    """One training step of the method, as a client takes it."""
    kind = model_class_of(config.task)
    method = build_method(config.method, task=kind, server=config.server)
    model = build_model(config, method, label_names=("no", "yes"), pad_token_id=0)
    model.train()
    forward = torch.compile(model) if compiled else model

    def loss() -> torch.Tensor:
        with nullcontext() if layer_by_layer else contracted_together(model):
            found: torch.Tensor = forward(**batch).loss
        return found

    return training_step(model, loss)


def training_step(
    model: nn.Module, loss_of_batch: Callable[[], torch.Tensor]
) -> Callable[[], None]:
    """Forward, backward and optimizer, of whatever the model has to train."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def step() -> None:
        loss_of_batch().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def frozen_model(config: RunConfig) -> PreTrainedModel:
    """The method's base model, with its adapter taken off and nothing to train."""
    kind = model_class_of(config.task)
    method = build_method(config.method, task=kind, server=config.server)
    adapted = build_model(config, method, label_names=("no", "yes"), pad_token_id=0)
    return adapted.unload()


def frozen_step(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """The model's forward, and the backward with respect to its embeddings."""
    model.train()
    model.requires_grad_(requires_grad=False)
    embeddings = model.get_input_embeddings()

    def step() -> None:
        start = embeddings(batch["input_ids"]).requires_grad_()
        others = {key: tensor for key, tensor in batch.items() if key != "input_ids"}
        model(inputs_embeds=start, **others).loss.backward()

    return step


def page_faults() -> int:
    """Pages that this process has been given so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def parse_arguments() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["minilm", "smollm2"])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--give-back", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    if not arguments.give_back:
        keep_freed_memory()
    machine = describe_machine("transformers", "peft")
    size = f"{arguments.rows} texts x {arguments.length} tokens, {arguments.dtype}"
    print(f"{machine}; {size}\n")
    ratios: dict[str, float] = {}
    figures: dict[str, object] = {}
    rows = []
    for name in arguments.models:
        configs = {m: config_of(name, own, dtype=arguments.dtype) for m, own in METHODS.items()}
        config = configs["fedtt"]
        generator = torch.Generator().manual_seed(0)
        shape = (arguments.rows, arguments.length)
        ids = torch.randint(1000, 20_000, shape, generator=generator)
        causal = model_class_of(config.task) == "causal"
        labels = ids if causal else torch.arange(arguments.rows) % 2
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        steps = {"frozen": frozen_step(frozen_model(config), batch)}
        steps |= {method: adapted_step(own, batch) for method, own in configs.items()}
        steps[LAYER_BY_LAYER] = adapted_step(config, batch, layer_by_layer=True)
        first: dict[str, float] = {}
        if arguments.compile:
            for method, own in configs.items():
                key = f"{method}, compiled"
                steps[key] = adapted_step(own, batch, compiled=True)
                began = time.perf_counter()
                steps[key]()
                first[key] = time.perf_counter() - began
        times: dict[str, list[float]] = {method: [] for method in steps}
        pages: dict[str, list[int]] = {method: [] for method in steps}
        for turn in range(arguments.turns + 2):
            for method, step in steps.items():
                began, faults = time.perf_counter(), page_faults()
                step()
                if turn >= 2:  # the first ones warm up
                    times[method].append(time.perf_counter() - began)
                    pages[method].append(page_faults() - faults)
        for method, taken in times.items():
            seconds = statistics.median(taken)
            ratio = statistics.median(map(truediv, taken, times["frozen"]))
            ratios[f"{name}, {method}"] = ratio
            faults = round(statistics.median(pages[method]))
            # A compiled step is not made of torch's operators, and counting would undo it.
            calls = None if method in first else calls_of(steps[method])
            figures[f"{name}, {method}"] = {
                "ms": 1e3 * seconds,
                "calls": calls,
                "pages": faults,
                "first_s": first.get(method),
            }
            once = f"{first[method]:.1f}" if method in first else ""
            numbers = (f"{1e3 * seconds:.1f}", f"{ratio:.3f}", calls or "", f"{faults:,}")
            rows.append((name, method, *numbers, once))
    header = ("model", "method", "ms", "times the frozen model", "calls", "pages", "s to compile")
    columns = len(header) if arguments.compile else len(header) - 1
    print_table(header[:columns], [row[:columns] for row in rows])
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
