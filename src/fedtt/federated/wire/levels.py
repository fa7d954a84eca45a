"""Levels at equal distances: int8, int4, int2. One scale a block.

::

    number = scale * (2 * code / (count - 1) - 1)        count = 255, 15, 4
    body = a scale a block (bfloat16), then the code of every number, 8, 4 or 2 bits each

Stochastic: the scale is the largest magnitude in the block, rounded up, and a number between two
levels goes to the upper one with the probability that makes its mean right (QSGD, Alistarh et al.,
NeurIPS 2017). To the nearest: the scale is that of ``SHARES`` of the largest magnitude with the
least squared error, and what lies outside goes to the outermost level. int8 and int4 have a level
for zero; int2 has not: it would leave one of its four codes unused.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from fedtt.errors import WireError
from fedtt.federated.wire.bits import pack, packed_length, unpack
from fedtt.federated.wire.chance import uniform
from fedtt.federated.wire.codec import CodecOptions
from fedtt.federated.wire.flat import (
    SCALE_BYTES,
    Blocks,
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

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
Codes = UInt8[np.ndarray, "blocks block"]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """``count`` levels in codes of so many bits, as the module says."""

    name: str
    bits: int
    count: int
    block: int
    stochastic: bool

    def encode(self, params: Params, *, seed: int) -> bytes:
        """Raises :class:`WireError` for numbers beyond those of a bfloat16."""
        flat = flatten(params)
        blocks = cut(flat, self.block)
        if self.stochastic:
            scales, codes = self._by_chance(blocks, seed=seed)
        else:
            scales, codes = self._to_nearest(blocks)
        return scales_to_bytes(scales) + pack(codes.reshape(-1)[: len(flat)], self.bits)

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        """Raises :class:`WireError` for another length, a scale or a code that there is not."""
        count = count_numbers(expected)
        check_body(body, expected=self.length(expected))
        at = SCALE_BYTES * count_blocks(count, self.block)
        scales = scales_from_bytes(body[:at])
        codes = unpack(body[at:], self.bits, count=count)
        if codes.size and int(codes.max()) >= self.count:
            raise WireError("a payload holds a code that its codec has not", got=int(codes.max()))
        levels = self._levels(cut(codes.astype(np.float32), self.block))
        return unflatten((levels * scales[:, None]).reshape(-1)[:count], expected)

    def length(self, structure: Structure) -> int:
        """Exactly."""
        count = count_numbers(structure)
        return SCALE_BYTES * count_blocks(count, self.block) + packed_length(count, self.bits)

    def _levels(self, codes: Blocks) -> Blocks:
        """From codes to numbers between -1 and 1."""
        middle = np.float32((self.count - 1) / 2)
        return (codes - middle) / middle

    def _by_chance(self, blocks: Blocks, *, seed: int) -> tuple[Blocks, Codes]:
        scales = rounded_up(_largest(blocks))
        steps = self._in_steps(blocks, scales)
        below = np.floor(steps)
        up = uniform(seed, blocks.size).reshape(blocks.shape) < steps - below
        return scales, (below + up).astype(np.uint8)

    def _to_nearest(self, blocks: Blocks) -> tuple[Blocks, Codes]:
        largest = _largest(blocks)
        best_scales, best_codes, least = self._nearest(blocks, rounded_up(largest))
        for share in SHARES[1:] if self.bits < 8 else ():
            scales, codes, error = self._nearest(blocks, rounded_up(largest * np.float32(share)))
            better = error < least
            best_scales = np.where(better, scales, best_scales)
            best_codes = np.where(better[:, None], codes, best_codes)
            least = np.minimum(error, least)
        return best_scales, best_codes

    def _nearest(self, blocks: Blocks, scales: Blocks) -> tuple[Blocks, Codes, Blocks]:
        """The codes for those scales, and every block's squared error in units of its largest."""
        codes = np.rint(self._in_steps(blocks, scales)).clip(0, self.count - 1)
        unit = np.maximum(_largest(blocks), np.float32(1e-38))[:, None]
        lost = (self._levels(codes) * scales[:, None] - blocks) / unit
        return scales, codes.astype(np.uint8), np.square(lost).sum(axis=1)

    def _in_steps(self, blocks: Blocks, scales: Blocks) -> Blocks:
        """Numbers on the scale of codes: zero is in the middle."""
        units = np.where(scales > 0, scales, np.float32(1))[:, None]
        middle = np.float32((self.count - 1) / 2)
        steps: Blocks = blocks / units * middle + middle
        return steps


def int8(options: CodecOptions) -> Levels:
    """255 levels."""
    return _levels("int8", 8, 255, options)


def int4(options: CodecOptions) -> Levels:
    """15 levels."""
    return _levels("int4", 4, 15, options)


def int2(options: CodecOptions) -> Levels:
    """4 levels, none of them zero."""
    return _levels("int2", 2, 4, options)


def _levels(name: str, bits: int, count: int, options: CodecOptions) -> Levels:
    return Levels(
        name=name,
        bits=bits,
        count=count,
        block=options.block,
        stochastic=options.stochastic,
    )


def _largest(blocks: Blocks) -> Blocks:
    """Of every block, the largest magnitude."""
    largest: Blocks = np.abs(blocks).max(axis=1, initial=0)
    return largest
