"""A privacy step from outside: one function, given to ``LocalTraining.private``."""

from collections.abc import Sequence

from torch import Tensor


def keep_signs(gradients: Sequence[Tensor]) -> None:
    """All that is learned of a number is its sign (no privacy by itself; a toy)."""
    for gradient in gradients:
        gradient.sign_()
