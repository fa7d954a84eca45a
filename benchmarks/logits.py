"""SmolLM2's training step with the logits that its loss needs, and with those of all tokens.

    python benchmarks/logits.py [--rows 8] [--turns 7] [--json FILE]

Label words need one token's logits of each text, a completion those of its few tokens. Random
tokens; a text is half of the longest to the longest, ended by what is learned of it. A step is
forward, backward and optimizer of LoRA r=8; turns alternate, times are medians. One thread.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from report import describe_machine, median_times, print_table, write_json
from step import METHODS, config_of, training_step
from torch import Tensor, nn

from fedtt.data.tokens import IGNORED
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.freed_memory import keep_freed_memory
from fedtt.federated.local.client import Batch
from fedtt.federated.local.needed_logits import TARGETS, Positions, needed_logits
from fedtt.tasks.language_modeling import before_targets, token_loss

# longest text, tokens that are learned
SETTINGS = {
    "label words, 64 tokens": (64, 1),
    "completion, 64": (64, 8),
    "completion, 256": (256, 8),
}


def batch_of(rows: int, length: int, completion: int) -> dict[str, Tensor]:
    """Texts that are padded on the right; the last ``completion`` tokens of each are targets."""
    stream = torch.Generator().manual_seed(0)
    lengths = torch.randint(length // 2, length + 1, (rows,), generator=stream)
    lengths[0] = length
    place = torch.arange(length)
    real = place < lengths[:, None]
    ids = torch.randint(1000, 20_000, (rows, length), generator=stream) * real
    target = real & (place >= lengths[:, None] - completion)
    return {
        "input_ids": ids,
        "attention_mask": real.long(),
        TARGETS: ids.masked_fill(~target, IGNORED),
    }


def step_of(model: nn.Module, batch: Batch, positions: Positions | None) -> Callable[[], None]:
    """One training step."""
    return training_step(
        model, lambda: token_loss(*needed_logits(model, batch, positions=positions))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    config = config_of("smollm2", METHODS["lora r=8"], dtype=arguments.dtype)
    method = build_method(config.method, task="causal", server=config.server)
    model = build_model(config, method, label_names=(), pad_token_id=0).train()
    machine = describe_machine("transformers", "peft")
    print(f"{machine}; {arguments.rows} texts, {arguments.dtype}\n")
    ratios, rows = {}, []
    for name, (length, learned) in SETTINGS.items():
        batch = batch_of(arguments.rows, length, learned)
        steps = {
            "all": step_of(model, batch, None),
            "needed": step_of(model, batch, before_targets),
        }
        taken = median_times(steps, turns=arguments.turns)
        of_all, of_needed = taken["all"], taken["needed"]
        ratios[name] = of_needed / of_all
        megabytes = arguments.rows * length * model.config.vocab_size * 4 / 1e6
        rows.append(
            (
                name,
                f"{1e3 * of_all:.0f}",
                f"{1e3 * of_needed:.0f}",
                f"{ratios[name]:.2f}",
                f"{megabytes:.0f}",
                f"{megabytes * learned / length:.1f}",
            )
        )
    header = ("learned", "ms, all logits", "ms, needed", "ratio", "MB of logits, all", "needed")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures={}, machine=machine)


if __name__ == "__main__":
    main()
