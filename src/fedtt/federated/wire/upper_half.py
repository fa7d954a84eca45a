"""bfloat16: the upper half of a float32, little-endian, number after number.

Stochastic: up or down with the probability that makes the mean right. Else to the nearest, half to
even.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt32
from torch import Tensor

from fedtt.errors import WireError
from fedtt.federated.wire.chance import uniform
from fedtt.federated.wire.codec import CodecOptions
from fedtt.federated.wire.flat import check_body, count_numbers, flatten, unflatten
from fedtt.params import Params, Structure


@dataclass(frozen=True, kw_only=True)
class UpperHalf:
    """Every number as a bfloat16."""

    stochastic: bool
    name: str = "bfloat16"

    def encode(self, params: Params, *, seed: int) -> bytes:
        """Raises :class:`WireError` for numbers beyond those of a bfloat16."""
        flat = flatten(params)
        bits: UInt32[np.ndarray, count] = np.ascontiguousarray(flat).view(np.uint32)
        if self.stochastic:
            bits = bits + (uniform(seed, len(flat)) * 0x10000).astype(np.uint32)
        else:
            bits = bits + 0x7FFF + (bits >> 16 & 1)
        return (bits >> 16).astype("<u2").tobytes()

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        """Raises :class:`WireError` for another length, NaN or infinity."""
        check_body(body, expected=self.length(expected))
        flat = (np.frombuffer(body, "<u2").astype(np.uint32) << 16).view(np.float32)
        if not bool(np.isfinite(flat).all()):
            raise WireError("an update is not finite", got="NaN or infinity")
        return unflatten(flat, expected)

    def length(self, structure: Structure) -> int:
        """Two bytes a number."""
        return 2 * count_numbers(structure)


def bfloat16(options: CodecOptions) -> UpperHalf:
    """Half of a float32."""
    return UpperHalf(stochastic=options.stochastic)
