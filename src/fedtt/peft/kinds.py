"""What an exchanged parameter can be."""

from enum import StrEnum


class ParameterKind(StrEnum):
    """The kinds of our adapters and PEFT's, in the order in which they are counted.

    A layer of an adapter declares its own (``added_kind``, or ``kind_of``); it may be any string.
    """

    CORES = "cores"
    ADAPTER = "adapter"
    BIASES = "biases"
    HEAD = "head"
    NORMS = "norms"
    LORA = "lora"
    LORA_XS = "lora_xs"
    PROMPT = "prompt"
    IA3 = "ia3"
    VERA = "vera"
    BASE = "base"
    OTHER = "other"
