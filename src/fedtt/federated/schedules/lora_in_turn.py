"""LoRA's two factors in turn."""

from fedtt.federated.parameter_names import is_lora_a, is_lora_b
from fedtt.federated.types import ServerState


def alternate_lora(state: ServerState) -> frozenset[str]:
    """LoRA's B in even rounds, its A in odd ones (RoLoRA, arXiv 2502.01755).

    B first: it starts at zero, and until it has moved A has no gradient.
    """
    resting = is_lora_a if state.next_round % 2 == 0 else is_lora_b
    return frozenset(name for name in state.params if not resting(name))
