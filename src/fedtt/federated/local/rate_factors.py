"""Learning rates that differ by parameter: factors of the round's, from what a run starts with.

A head is drawn afresh and an adapter is not, so they need not learn at one rate. What starts at
zero (B of LoRA, the last core of Up) multiplies what does not, and learns best at a higher rate
(LoRA+, Hayou et al. 2024, arXiv 2402.12354).
"""

import math
from collections.abc import Mapping

from fedtt.federated.local.step import LocalTraining
from fedtt.params import Params
from fedtt.peft import ParameterKind


def rate_factors(
    initial: Params, kinds: Mapping[str, str], *, head: float, zero_start: float
) -> dict[str, float]:
    """Name -> factor of the learning rate, of every parameter for which it is not 1.

    ``head`` is that of the head; ``zero_start`` of everything else whose ``initial`` value is zero
    throughout. A function of the initial state and the declared kinds, which whoever takes part in
    a run has: the server, its helpers and every site come to the same.
    """
    factors = {
        name: head if kinds[name] == ParameterKind.HEAD else zero_start
        for name, value in initial.items()
        if kinds[name] == ParameterKind.HEAD or not value.any()
    }
    return {name: factor for name, factor in factors.items() if factor != 1.0}


def moved_by(training: LocalTraining) -> dict[str, float]:
    """How far a step of a subspace's number moves each parameter beside the others, by name.

    AdamW steps as far whatever the gradient's size, so a parameter moves by its factor. SGD's step
    goes with the gradient, in which the same number is once more: the root of it.
    """
    if training.decouples_decay:
        return dict(training.factors)
    return {name: math.sqrt(factor) for name, factor in training.factors.items()}
