"""What is to be known of PEFT's types before one is a method: those that cannot be, and why."""

from collections.abc import Mapping
from typing import Any

from fedtt.errors import ConfigError

TASK_IDS = "it reads beside every text the number of its task (task_ids), which no data here has"
WEIGHTS = (
    "it is computed from the weights of the base model while it is made, and a method's bytes and "
    "memory are counted before there are any"
)
# PEFT's type -> why no client can train it, and what can be had in its place.
REFUSED: Mapping[str, tuple[str, str]] = {
    "adalora": (
        "it moves ranks between layers in a call after every step, which no client makes",
        "flexlora, or peft:lora with a rank_pattern among its options",
    ),
    "adamss": (WEIGHTS, "lora-xs, whose frames are of the base weights, too"),
    "cpt": ("every pass through it, a measurement's too, writes into what it trains", "prompt"),
    "frod": (WEIGHTS, "lora-xs, whose frames are of the base weights, too"),
    "multitask_prompt_tuning": (TASK_IDS, "prompt"),
    "poly": (TASK_IDS, "lora"),
    "shira": (WEIGHTS, "peft:loha, or lora"),
    "xlora": (
        "it mixes adapters that were trained before, each read from a directory of its own",
        "lora, or head over a model in which such adapters are merged",
    ),
}
# Options without a usable default -> values that they could have.
NEEDED: Mapping[str, Mapping[str, Any]] = {
    "adaption_prompt": {"adapter_len": 10, "adapter_layers": 2},
    "cartridge": {"num_virtual_tokens": 20},
    "p_tuning": {"num_virtual_tokens": 20},
    "prefix_tuning": {"num_virtual_tokens": 20},
    "prompt_tuning": {"num_virtual_tokens": 20},
    "trainable_tokens": {"token_indices": [101, 102]},
}


def check_peft_type(name: str, options: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` for a method ``peft:TYPE`` that could not be trained."""
    kind = name.removeprefix("peft:").lower().replace("-", "_")
    if kind in REFUSED:
        reason, instead = REFUSED[kind]
        raise ConfigError(
            "this method of PEFT's cannot be trained by clients",
            where="method.name",
            got=f"{name}: {reason}",
            expected="a method that each client trains by itself, from its own texts",
            fix=f"another method: {instead}",
        )
    missing = {key: value for key, value in NEEDED.get(kind, {}).items() if not options.get(key)}
    if missing:
        example = ", ".join(f"{key} = {value}" for key, value in missing.items())
        raise ConfigError(
            "this method of PEFT's has an option without a default",
            where="method.options",
            got=f"{name} without {', '.join(missing)}",
            fix=f"such as options = {{ {example} }}",
        )
