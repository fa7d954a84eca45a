"""Whether a model recomputes parts of its forward in the backward, as transformers notes it."""

from torch import nn

NOTED = "gradient_checkpointing"


def may_recompute(module: nn.Module) -> bool:
    """Whether activation checkpointing can be turned on for this module."""
    return hasattr(module, NOTED)


def recomputes(module: nn.Module) -> bool:
    """Whether it is on for this module, whatever is inside it."""
    return bool(getattr(module, NOTED, False))


def recomputes_activations(model: nn.Module) -> bool:
    """Whether it is on for any part of the model."""
    return any(map(recomputes, model.modules()))
