"""One bit a number: its sign. One scale a block.

::

    number = scale or -scale
    body = a scale a block (bfloat16), then a bit for every number, 1 for what is not negative

To the nearest: the scale is the mean magnitude in the block, which loses least; what is lost does
not average out, so it needs error feedback (Karimireddy et al., Error Feedback Fixes SignSGD, ICML
2019). Stochastic: the scale is the largest magnitude, and the sign is drawn such that its mean is
right; the noise is larger than the number.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedtt.federated.wire.bits import pack, packed_length, unpack
from fedtt.federated.wire.chance import uniform
from fedtt.federated.wire.codec import CodecOptions
from fedtt.federated.wire.flat import (
    SCALE_BYTES,
    check_body,
    count_blocks,
    count_numbers,
    cut,
    flatten,
    rounded_up,
    scales_from_bytes,
    scales_to_bytes,
    unflatten,
)
from fedtt.params import Params, Structure


@dataclass(frozen=True, kw_only=True)
class Signs:
    """As the module says."""

    block: int
    stochastic: bool
    name: str = "sign"

    def encode(self, params: Params, *, seed: int) -> bytes:
        """Raises :class:`WireError` for numbers beyond those of a bfloat16."""
        flat = flatten(params)
        blocks = cut(flat, self.block)
        magnitudes = np.abs(blocks)
        if self.stochastic:
            scales = rounded_up(magnitudes.max(axis=1, initial=0))
            units = np.where(scales > 0, scales, np.float32(1))[:, None]
            chances = (blocks / units + 1) / 2
            signs = uniform(seed, blocks.size).reshape(blocks.shape) < chances
        else:
            sizes = cut(np.ones_like(flat), self.block).sum(axis=1)
            # Divided first: the sum of large numbers would be infinite.
            scales = rounded_up((magnitudes / np.maximum(sizes, 1)[:, None]).sum(axis=1))
            signs = blocks >= 0
        bits = pack(signs.reshape(-1)[: len(flat)].astype(np.uint8), 1)
        return scales_to_bytes(scales) + bits

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        """Raises :class:`WireError` for another length, or a scale that there is not."""
        count = count_numbers(expected)
        check_body(body, expected=self.length(expected))
        at = SCALE_BYTES * count_blocks(count, self.block)
        scales = scales_from_bytes(body[:at])
        signs = cut(unpack(body[at:], 1, count=count).astype(np.float32), self.block)
        return unflatten(((2 * signs - 1) * scales[:, None]).reshape(-1)[:count], expected)

    def length(self, structure: Structure) -> int:
        """Exactly."""
        count = count_numbers(structure)
        return SCALE_BYTES * count_blocks(count, self.block) + packed_length(count, 1)


def sign(options: CodecOptions) -> Signs:
    """A bit a number."""
    return Signs(block=options.block, stochastic=options.stochastic)
