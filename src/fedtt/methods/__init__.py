"""The methods by name: what a configuration says of each, and how each is built.

A file holds one family: its section of the configuration, what its methods are, and how they are
built. Nothing here imports torch before a method is built.
"""

from fedtt.methods.entry import MethodEntry, MethodSection, Setting
from fedtt.registry import Registry

METHODS: Registry[MethodEntry] = Registry(
    "method",
    {
        "fedtt": "fedtt.methods.tensor_train:FEDTT",
        "fedtt+": "fedtt.methods.tensor_train:FEDTT_PLUS",
        "fedtt-round": "fedtt.methods.tensor_train:FEDTT_ROUND",
        "lora": "fedtt.methods.lora_family:LORA",
        "ffa-lora": "fedtt.methods.lora_family:FFA_LORA",
        "rolora": "fedtt.methods.lora_family:ROLORA",
        "fedex-lora": "fedtt.methods.lora_family:FEDEX_LORA",
        "flexlora": "fedtt.methods.lora_family:FLEXLORA",
        "lora-xs": "fedtt.methods.lora_xs_method:LORA_XS",
        "metatt": "fedtt.methods.metatt_method:METATT",
        "metatt-round": "fedtt.methods.metatt_method:METATT_ROUND",
        "adapter": "fedtt.methods.houlsby:ADAPTER",
        "bitfit": "fedtt.methods.part_of_model:BITFIT",
        "prompt": "fedtt.methods.virtual_tokens:PROMPT",
        "prefix": "fedtt.methods.virtual_tokens:PREFIX",
        "p-tuning": "fedtt.methods.virtual_tokens:P_TUNING",
        "ia3": "fedtt.methods.ia3:IA3",
        "vera": "fedtt.methods.vera:VERA",
        "head": "fedtt.methods.part_of_model:HEAD",
        "full": "fedtt.methods.part_of_model:FULL",
        "peft:TYPE": "fedtt.methods.any_of_peft:ANY_OF_PEFT",
    },
    group="fedtt.methods",
    accepts=lambda row: isinstance(row, MethodEntry),
)
PEFT_PREFIX = "peft:"

__all__ = ["METHODS", "MethodEntry", "MethodSection", "Setting", "method_entry"]


def method_entry(name: str) -> MethodEntry:
    """The method of that name; PEFT's own methods share one row.

    Raises ``ValueError`` with the choices and the nearest.
    """
    row = "peft:TYPE" if name.startswith(PEFT_PREFIX) else name
    return METHODS[METHODS.check(row)]
