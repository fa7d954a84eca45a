"""All numbers of the parameters as one row of float32, cut into blocks: what lossy codecs see.

The tensors lie one after another in the order of their sorted names, each row-major. Blocks run
over their borders, so a small tensor takes no scale of its own; the last block is filled with
zeros that do not travel. A scale is a bfloat16: its range is that of float32.
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt32
from torch import Tensor

from fedtt.errors import WireError
from fedtt.params import Params, Structure, structure_of

SCALE_BYTES = 2
LARGEST = float(torch.finfo(torch.bfloat16).max)  # of bfloat16
SENT = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

Numbers = Float32[np.ndarray, "numbers"]
Blocks = Float32[np.ndarray, "blocks block"]


def count_numbers(structure: Structure) -> int:
    """Of all tensors together. Raises :class:`WireError` for a type that cannot be sent."""
    for name, spec in structure.items():
        if spec.dtype not in SENT:
            raise WireError("a type that cannot be sent", where=name, got=spec.dtype)
    return sum(spec.num_elements for spec in structure.values())


def flatten(params: Params) -> Numbers:
    """The numbers as float32. Raises :class:`WireError` for what a bfloat16 cannot hold."""
    if not count_numbers(structure_of(params)):
        return np.zeros(0, np.float32)
    pieces = [params[name].detach().cpu().flatten().float() for name in sorted(params)]
    flat: Numbers = torch.cat(pieces).numpy()
    if not bool((np.abs(flat) <= LARGEST).all()):
        raise WireError(
            "numbers that a lossy codec cannot send",
            got=f"{float(np.abs(flat).max())}",
            expected=f"at most {LARGEST:.3g}",
        )
    return flat


def unflatten(flat: Numbers, expected: Structure) -> dict[str, Tensor]:
    """The tensors that ``flat`` holds, in their types; what one cannot hold becomes its largest."""
    params, start = {}, 0
    for name in sorted(expected):
        spec = expected[name]
        values = torch.from_numpy(flat[start : start + spec.num_elements].copy())
        start += spec.num_elements
        largest = torch.finfo(spec.dtype).max
        params[name] = values.to(spec.dtype).clamp(-largest, largest).reshape(spec.shape)
    return params


def cut(flat: Numbers, block: int) -> Blocks:
    """The numbers in blocks."""
    blocks = np.zeros((count_blocks(len(flat), block), block), np.float32)
    blocks.reshape(-1)[: len(flat)] = flat
    return blocks


def count_blocks(numbers: int, block: int) -> int:
    """Blocks of so many numbers."""
    return -(-numbers // block)


def rounded_up(scales: Float32[np.ndarray, "*blocks"]) -> Float32[np.ndarray, "*blocks"]:
    """The next bfloat16 that is no smaller; of numbers that are not negative."""
    bits: UInt32[np.ndarray, "*blocks"] = np.ascontiguousarray(scales).view(np.uint32)
    up: Float32[np.ndarray, "*blocks"] = ((bits + 0xFFFF) & 0xFFFF0000).view(np.float32)
    return up


def scales_to_bytes(scales: Float32[np.ndarray, "blocks"]) -> bytes:
    """The upper halves, little-endian; of numbers that are bfloat16."""
    return (np.ascontiguousarray(scales).view(np.uint32) >> 16).astype("<u2").tobytes()


def scales_from_bytes(content: bytes) -> Float32[np.ndarray, "blocks"]:
    """What :func:`scales_to_bytes` wrote. Raises :class:`WireError` for what is no scale."""
    scales: Float32[np.ndarray, blocks] = (
        np.frombuffer(content, "<u2").astype(np.uint32) << 16
    ).view(np.float32)
    # Not below zero, minus zero included, and finite.
    if bool(np.signbit(scales).any()) or not bool(np.isfinite(scales).all()):
        raise WireError("a scale of a payload is not a number of at least 0")
    return scales


def check_body(body: bytes, *, expected: int) -> None:
    """Raise :class:`WireError` unless the body has that length."""
    if len(body) != expected:
        raise WireError(
            "a payload has another length than its parameters",
            got=f"{len(body)} bytes",
            expected=f"{expected} bytes",
        )
