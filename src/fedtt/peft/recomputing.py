"""Whether a model recomputes parts of its forward in the backward."""

from torch import nn


def recomputes_activations(model: nn.Module) -> bool:
    """Whether it does (activation checkpointing, which modules of transformers note so)."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
