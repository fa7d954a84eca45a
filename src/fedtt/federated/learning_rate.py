"""The clients' learning rate as a function of the round."""

import math
from collections.abc import Callable, Mapping

# Fraction of the base rate against progress in [0, 1) through the rounds after the warm-up.
DECAYS: Mapping[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,  # noqa: ARG005  (all three take the progress)
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def learning_rate_at(
    round_index: int, *, rounds: int, base: float, decay: str, warmup_rounds: int
) -> float:
    """Rate of round ``round_index`` of ``rounds``: linear warm-up to ``base``, then the decay.

    No round has rate zero: warm-up starts at ``base / (warmup_rounds + 1)``, and a decay reaches
    zero only after the last round.
    """
    if round_index < warmup_rounds:
        return base * (round_index + 1) / (warmup_rounds + 1)
    progress = (round_index - warmup_rounds) / max(1, rounds - warmup_rounds)
    return base * DECAYS[decay](progress)
