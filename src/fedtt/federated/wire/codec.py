"""How parameters become bytes, by name: ``wire.codec`` and ``wire.downlink``. Loads no torch.

A codec is what the clients' updates, or the server's steps, travel in; both ends have the same. To
add one, write it in a file of its own, and give it a row in the table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fedtt.registry import Registry, built_by

if TYPE_CHECKING:
    from torch import Tensor

    from fedtt.params import Params, Structure

PLAIN_CODEC = "plain"


class Codec(Protocol):
    """Parameters as bytes, and back; ``name`` is its row in the table and travels in headers."""

    @property
    def name(self) -> str:
        """Its row in ``CODECS``."""
        ...

    def encode(self, params: "Params", *, seed: int) -> bytes:
        """The same parameters and seed are always the same bytes.

        Raises :class:`WireError` for numbers that cannot be sent.
        """
        ...

    def decode(self, body: bytes, *, expected: "Structure") -> "dict[str, Tensor]":
        """The parameters, of exactly that structure and sorted by name.

        The same bytes are the same bits on every machine: what the server moves by a site adds.

        Raises :class:`WireError`, and nothing else, for bytes that no ``encode`` made, and takes
        no more memory than ``expected`` does, a few times over.
        """
        ...

    def length(self, structure: "Structure") -> int:
        """Bytes of parameters of that structure, without making them; never fewer than they are."""
        ...


@dataclass(frozen=True, kw_only=True)
class CodecOptions:
    """The other keys of ``[wire]``: numbers that share a scale, and how they are rounded.

    ``stochastic``: up or down by chance, such that the mean is right; else to the nearest.
    """

    block: int
    stochastic: bool


@dataclass(frozen=True, kw_only=True)
class CodecRow:
    """What a configuration has to know of a codec; ``built_by``, ``"module:function"``, makes it.

    ``lossy``: what is decoded is not quite what was encoded. ``coarse``: of so few levels that
    most numbers change by about as much as they are.
    """

    built_by: str
    lossy: bool = True
    coarse: bool = False

    @property
    def build(self) -> Callable[[CodecOptions], Codec]:
        """The function, imported now."""
        build: Callable[[CodecOptions], Codec] = built_by(self.built_by)
        return build


_HERE = "fedtt.federated.wire"
CODECS: Registry[CodecRow] = Registry(
    "codec",
    {
        PLAIN_CODEC: CodecRow(built_by=f"{_HERE}.plain:plain", lossy=False),
        "bfloat16": CodecRow(built_by=f"{_HERE}.upper_half:bfloat16"),
        "int8": CodecRow(built_by=f"{_HERE}.levels:int8"),
        "int4": CodecRow(built_by=f"{_HERE}.levels:int4"),
        "int2": CodecRow(built_by=f"{_HERE}.levels:int2", coarse=True),
        "sign": CodecRow(built_by=f"{_HERE}.signs:sign", coarse=True),
    },
    group="fedtt.codecs",
    accepts=lambda row: isinstance(row, CodecRow),
)
