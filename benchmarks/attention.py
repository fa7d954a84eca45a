"""Attention for training on a CPU: the fused kernel against plain products, by type and length.

    python benchmarks/attention.py [--json FILE]

Forward and backward of one layer with MiniLM's heads (12, 32 wide) over 1,024 tokens in all, padded
texts. ``fused`` is transformers' ``sdpa``, ``plain`` what ``fedtt.models.attention`` does for
short texts. Turns alternate; times are medians. One thread.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from report import describe_machine, median_times, print_table, write_json
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from fedtt.models import attention

HEADS, WIDTH, TOKENS = 12, 32, 1024
LENGTHS = (16, 32, 64, 128, 256, 512)


def steps(length: int, dtype: torch.dtype) -> dict[str, Callable[[], None]]:
    """Forward and backward, fused and plain, of the same texts."""
    rows = max(1, TOKENS // length)
    generator = torch.Generator().manual_seed(0)
    shape = (rows, HEADS, length, WIDTH)
    inputs = [torch.randn(shape, generator=generator).to(dtype) for _ in range(3)]
    query, key, value = (x.requires_grad_() for x in inputs)
    towards = torch.randn(rows, length, HEADS, WIDTH, generator=generator).to(dtype)
    seen = torch.arange(length) < torch.linspace(length / 2, length, rows)[:, None].ceil()
    mask = seen[:, None, None, :].expand(rows, 1, length, length)
    module = nn.Module()

    def step(attend: Callable[..., Any]) -> None:
        output, _ = attend(module, query, key, value, mask, is_causal=False)
        torch.autograd.grad(output, (query, key, value), towards)

    def plain() -> None:
        with (
            mock.patch.object(attention, "_is_slow", return_value=True),
            mock.patch.object(attention, "multiplies_slowly", return_value=False),
        ):
            step(attention.attend)

    return {"fused": lambda: step(sdpa_attention_forward), "plain": plain}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine("transformers")
    print(f"{machine}; {TOKENS} tokens, {HEADS} heads x {WIDTH}\n")
    ratios: dict[str, float] = {}
    figures: dict[str, object] = {}
    rows = []
    for length in LENGTHS:
        row: list[object] = [length]
        for dtype in ("float32", "bfloat16"):
            taken = median_times(
                steps(length, getattr(torch, dtype)), turns=arguments.turns, warm_up=2
            )
            ratios[f"{dtype}, {length}"] = taken["fused"] / taken["plain"]
            figures[f"{dtype}, {length}"] = {name: 1e3 * s for name, s in taken.items()}
            row += [f"{1e3 * taken['fused']:.1f}", f"{1e3 * taken['plain']:.1f}"]
            row.append(f"{taken['fused'] / taken['plain']:.2f}")
        rows.append(row)
    header = ["tokens"]
    for dtype in ("float32", "bfloat16"):
        header += [f"{dtype}: fused ms", "plain ms", "fused / plain"]
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
