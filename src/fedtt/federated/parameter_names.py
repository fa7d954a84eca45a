"""What the names of exchanged parameters say: which belong to one tensor train, or to one LoRA."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# TTLinear holds its cores as direct parameters core_0, core_1, ...; PEFT its LoRA as below.
_CORE = re.compile(r"(?P<layer>.+)\.core_(?P<index>\d+)")
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])\.(?P<adapter>[^.]+)\.weight")


@dataclass(frozen=True, kw_only=True)
class LoRAPair:
    """Names of the two factors of one LoRA update ``B A``, and of the weight they update."""

    a: str
    b: str
    base_weight: str


def tensor_trains(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Layer -> names of its cores in the order of the train, for every train among ``names``."""
    found: dict[str, dict[int, str]] = {}
    for name in sorted(names):
        match = _CORE.fullmatch(name)
        if match:
            found.setdefault(match["layer"], {})[int(match["index"])] = name
    return {layer: tuple(cores[i] for i in sorted(cores)) for layer, cores in found.items()}


def lora_pairs(names: Iterable[str]) -> tuple[LoRAPair, ...]:
    """The LoRA updates of which both factors are among ``names``, sorted by layer."""
    known = set(names)
    pairs = []
    for name in sorted(known):
        match = _LORA.fullmatch(name)
        if match is None or match["side"] != "A":
            continue
        b = f"{match['layer']}.lora_B.{match['adapter']}.weight"
        if b in known:
            pairs.append(LoRAPair(a=name, b=b, base_weight=f"{match['layer']}.base_layer.weight"))
    return tuple(pairs)


def is_lora_a(name: str) -> bool:
    """Whether ``name`` is the factor A of a LoRA update."""
    match = _LORA.fullmatch(name)
    return match is not None and match["side"] == "A"


def is_lora_b(name: str) -> bool:
    """Whether ``name`` is the factor B of a LoRA update."""
    match = _LORA.fullmatch(name)
    return match is not None and match["side"] == "B"
