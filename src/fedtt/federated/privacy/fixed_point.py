"""Clipped updates and Gaussian noise as whole numbers, so that no digit tells one from another.

A sum of floating-point numbers and noise gives its terms away by the digits that it can have
(Mironov 2012, "On significance of the least significant bits for differential privacy"). Here an
update is clipped, and cut to multiples of ``clipping norm / GRID``; sums of those are exact, in
any order. The noise is rounded to the same grid. To round ``sum + noise`` is the same as to add the
rounded noise, so what is released is the Gaussian mechanism's output, rounded.
"""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedtt import params as p
from fedtt.federated.privacy.keystream import Stream
from fedtt.params import Params, Structure

Steps = npt.NDArray[np.int64]
GRID = 2**32  # a clipped update's norm, in steps; 2**31 of them fit a sum of 64 bits
MARGIN = 2.0**-20  # what the norm may be wrong by in float64, for 2**32 numbers and less


def norm_of(delta: Params) -> float:
    """L2 norm of all the numbers together, in float64."""
    squares = (float(tensor.double().square().sum()) for tensor in delta.values())
    return math.sqrt(math.fsum(squares))


def clip_to_grid(delta: Params, *, clipping_norm: float) -> dict[str, Tensor]:
    """``delta``, shortened to ``clipping_norm`` where it is longer, in whole steps (int64).

    Towards zero: the norm of the result is at most ``GRID``, exactly.
    """
    norm = norm_of(delta)
    # A norm below the clipping norm by less than the margin is shortened as well.
    factor = GRID / max(clipping_norm, norm * (1 + MARGIN))
    return {name: (tensor.double() * factor).trunc().long() for name, tensor in delta.items()}


def gaussian_steps(stream: Stream, count: int, *, deviation: float) -> Steps:
    """``count`` normal numbers of that standard deviation, rounded to whole ones (int64).

    Box and Muller 1958, two words for two numbers, with all 64 bits of the first: the tails reach
    9.4 standard deviations, beyond which is a probability of 1e-20.
    """
    pairs = -(-count // 2)
    words = stream.words(2 * pairs)
    first, second = (
        words[half].astype(np.float64) for half in (slice(0, pairs), slice(pairs, None))
    )
    radius = np.sqrt(-2.0 * np.log((first + 0.5) * 2.0**-64)) * deviation
    angle = second * (2 * math.pi * 2.0**-64)
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    steps: Steps = np.rint(both[:count]).astype(np.int64)
    return steps


def add_gaussian(
    total: Mapping[str, Tensor], *, structure: Structure, stream: Stream, deviation: float
) -> dict[str, Tensor]:
    """``total`` (zero where there is none) and noise of that many steps, by name."""
    noisy = {}
    for name in sorted(structure):
        shape = structure[name].shape
        count = structure[name].num_elements
        noise = torch.from_numpy(gaussian_steps(stream, count, deviation=deviation)).reshape(shape)
        noisy[name] = noise + total[name] if name in total else noise
    return noisy


def from_grid(steps: Params, *, step: float, structure: Structure) -> dict[str, Tensor]:
    """So many times ``step``, in the types of ``structure``."""
    return {
        name: (tensor.double() * step).to(structure[name].dtype)
        for name, tensor in p.select(steps, structure).items()
    }
