"""The random numbers of stochastic rounding, the same on every machine and with every version.

Philox 4x64 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011): numpy promises
the stream of its bits, and not what its distributions make of them.
"""

import numpy as np
from jaxtyping import Float32

MANTISSA = 24  # bits of a float32


def uniform(seed: int, count: int) -> Float32[np.ndarray, "count"]:
    """``count`` multiples of ``2**-24`` in ``[0, 1)``, all equally likely."""
    words = np.random.Philox(key=seed).random_raw(-(-count // 2))
    halves = words.astype("<u8").view("<u4")[:count]
    numbers: Float32[np.ndarray, count] = (halves >> (32 - MANTISSA)).astype(np.float32)
    return numbers * np.float32(2.0**-MANTISSA)
