"""Products of 16-bit weights on a CPU: in float32 block by block, and as PyTorch makes them.

    python benchmarks/wide_products.py [--turns 5] [--json FILE]

Forward, and backward with respect to the input, of frozen linear layers and 128 rows; then a whole
step of frozen MiniLM (16 texts x 32 tokens), as in ``benchmarks/step.py``. ``fedtt`` is what
:mod:`fedtt.wide_products` does where PyTorch's own is slow; here it is made to do so on any
processor. Turns alternate; times are medians, and ratios are to float32. One thread.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from report import describe_machine, median_times, print_table, write_json
from step import config_of, frozen_model, frozen_step

from fedtt import wide_products

ROWS = 128
LAYERS = {
    "MiniLM, 384 to 1536": (384, 1536),
    "SmolLM2, 1536 to 576": (1536, 576),
    "LLaMA-3-1B, 2048 to 2048": (2048, 2048),
}
Maker = Callable[[str], Callable[[], None]]  # the step of a type
WAYS = ("float32", "bfloat16, fedtt", "bfloat16, PyTorch", "float16, fedtt", "float16, PyTorch")


def product_step(inputs: int, outputs: int, dtype_name: str) -> Callable[[], None]:
    """Forward and backward of one linear layer whose weights are frozen."""
    dtype = getattr(torch, dtype_name)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator).to(dtype)
    x = torch.randn(ROWS, inputs, generator=generator).to(dtype).requires_grad_()
    towards = torch.randn(ROWS, outputs, generator=generator).to(dtype)

    def step() -> None:
        torch.autograd.grad(wide_products.linear(x, weight), x, towards)

    return step


def model_step(dtype: str) -> Callable[[], None]:
    """A step of MiniLM with nothing to train."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (16, 32), generator=generator)
    labels = torch.arange(16) % 2
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return frozen_step(frozen_model(config_of("minilm", {"name": "fedtt"}, dtype=dtype)), batch)


def in_way(way: str, make: Maker) -> Callable[[], None]:
    """The step that ``make`` makes of a type, with this processor's instructions or without."""
    dtype, _, by = way.partition(", ")
    slow = mock.patch.object(wide_products, "SLOW", 0.0 if by == "fedtt" else float("inf"))
    with slow:
        step = make(dtype)

    def run() -> None:
        with slow:
            step()

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine("transformers")
    print(f"{machine}; {ROWS} rows\n")
    ratios: dict[str, float] = {}
    figures: dict[str, object] = {}
    rows = []
    makers: dict[str, Maker] = {n: partial(product_step, *s) for n, s in LAYERS.items()}
    for name, make in (makers | {"MiniLM, a step": model_step}).items():
        taken = median_times({way: in_way(way, make) for way in WAYS}, turns=arguments.turns)
        figures[name] = {way: 1e3 * seconds for way, seconds in taken.items()}
        found = {way: seconds / taken["float32"] for way, seconds in taken.items()}
        ratios |= {f"{name}: {way}": ratio for way, ratio in found.items() if way != "float32"}
        rows.append([name, f"{1e3 * taken['float32']:.1f}", *(f"{found[w]:.2f}" for w in WAYS[1:])])
    print_table(["layer", "float32 ms", *WAYS[1:]], rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
