"""The codec that changes nothing: every number in its own type, little-endian.

The parameters of one type lie one after another in the order of their sorted names, row-major, and
the types in the order of their own names. Neither names nor shapes are part of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedtt.errors import WireError
from fedtt.federated.wire.codec import PLAIN_CODEC, CodecOptions
from fedtt.params import Params, Structure, structure_of

# type -> the type of its bits, as torch and as numpy have it
_BITS: Mapping[torch.dtype, tuple[torch.dtype, str]] = {
    torch.float64: (torch.int64, "<i8"),
    torch.float32: (torch.int32, "<i4"),
    torch.float16: (torch.int16, "<i2"),
    torch.bfloat16: (torch.int16, "<i2"),
}


@dataclass(frozen=True, kw_only=True)
class Plain:
    """Every number as it is."""

    name: str = PLAIN_CODEC

    def encode(self, params: Params, *, seed: int = 0) -> bytes:  # noqa: ARG002
        """As the module says. Raises :class:`WireError` for a type that cannot be sent."""
        pieces = []
        for dtype, names in _by_type(structure_of(params)):
            bits, little = _bits_of(dtype)
            flat = torch.cat([params[name].detach().cpu().flatten() for name in names])
            pieces.append(flat.view(bits).numpy().astype(little, copy=False).tobytes())
        return b"".join(pieces)

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        """What :meth:`encode` was given. Raises :class:`WireError` for another length."""
        if len(body) != self.length(expected):
            raise WireError(
                "a payload has another length than its parameters",
                got=f"{len(body)} bytes",
                expected=f"{self.length(expected)} bytes",
            )
        params, start = {}, 0
        for dtype, names in _by_type(expected):
            bits, little = _bits_of(dtype)
            for name in names:
                spec = expected[name]
                values = np.frombuffer(body, little, count=spec.num_elements, offset=start)
                start += values.nbytes
                # A copy: the bytes of a payload cannot be written to.
                native = torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
                params[name] = native.to(bits).view(dtype).reshape(spec.shape)
        return {name: params[name] for name in sorted(params)}

    def length(self, structure: Structure) -> int:
        """Exactly the bytes of the numbers."""
        return sum(spec.num_elements * spec.dtype.itemsize for spec in structure.values())


PLAIN = Plain()


def plain(options: CodecOptions) -> Plain:  # noqa: ARG001
    """The one that there is."""
    return PLAIN


def _by_type(structure: Structure) -> Iterator[tuple[torch.dtype, list[str]]]:
    groups: dict[torch.dtype, list[str]] = {}
    for name in sorted(structure):
        groups.setdefault(structure[name].dtype, []).append(name)
    return iter(sorted(groups.items(), key=lambda group: str(group[0])))


def _bits_of(dtype: torch.dtype) -> tuple[torch.dtype, str]:
    if dtype not in _BITS:
        names = [str(known).removeprefix("torch.") for known in _BITS]
        raise WireError("a type that cannot be sent", got=dtype, expected=", ".join(names))
    return _BITS[dtype]
