"""Small whole numbers as bits, without gaps, the first one highest in the first byte."""

import numpy as np
from jaxtyping import UInt8

from fedtt.errors import WireError


def packed_length(count: int, bits: int) -> int:
    """Bytes of ``count`` codes of so many bits."""
    return -(-count * bits // 8)


def pack(codes: UInt8[np.ndarray, "count"], bits: int) -> bytes:
    """Codes below ``2**bits``, for 1, 2, 4 or 8 bits; the last byte is filled with zeros."""
    each = 8 // bits  # codes a byte
    padded = np.zeros(packed_length(len(codes), bits) * each, np.uint8)
    padded[: len(codes)] = codes
    columns = padded.reshape(-1, each)
    packed = np.zeros(len(columns), np.uint8)
    for column in range(each):
        packed |= columns[:, column] << (8 - bits * (column + 1))
    return packed.tobytes()


def unpack(content: bytes, bits: int, *, count: int) -> UInt8[np.ndarray, "count"]:
    """What :func:`pack` was given. Raises :class:`WireError` for another filling than zeros."""
    each = 8 // bits
    packed = np.frombuffer(content, np.uint8)
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    codes: UInt8[np.ndarray, count] = ((packed[:, None] >> shifts) & np.uint8(2**bits - 1)).reshape(
        -1
    )
    if len(codes) != packed_length(count, bits) * each or codes[count:].any():
        raise WireError("a payload's codes do not end where they should")
    return codes[:count]
