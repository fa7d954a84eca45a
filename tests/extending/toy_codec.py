"""A codec from outside: every number in 16 bits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedtt.federated.wire.codec import CodecOptions, CodecRow
from fedtt.federated.wire.plain import PLAIN
from fedtt.params import Params, Structure, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Half:
    """Halves of float32."""

    name: str = "toy-half"

    def encode(self, params: Params, *, seed: int) -> bytes:
        return PLAIN.encode({name: tensor.half() for name, tensor in params.items()})

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        halves = PLAIN.decode(body, expected=_halved(expected))
        return {name: halves[name].to(spec.dtype) for name, spec in sorted(expected.items())}

    def length(self, structure: Structure) -> int:
        return PLAIN.length(_halved(structure))


def _halved(structure: Structure) -> Structure:
    return {n: TensorSpec(shape=s.shape, dtype=torch.float16) for n, s in structure.items()}


HALF = Half()


def build(options: CodecOptions) -> Half:
    return HALF


ROW = CodecRow(built_by="tests.extending.toy_codec:build")
