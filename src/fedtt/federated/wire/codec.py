"""How parameters become bytes, by name: ``wire.codec`` of a configuration. Loads no torch.

A codec is what the clients' updates travel in; both ends have the same. To add one, write it in a
file of its own, and give it a row in the table.
"""

from typing import TYPE_CHECKING, Protocol

from fedtt.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from fedtt.params import Params, Structure


class Codec(Protocol):
    """Parameters as bytes, and back; ``name`` is its row in the table and travels in headers."""

    @property
    def name(self) -> str:
        """Its row in ``CODECS``."""
        ...

    def encode(self, params: "Params") -> bytes:
        """The same parameters are always the same bytes."""
        ...

    def decode(self, body: bytes, *, expected: "Structure") -> "dict[str, Tensor]":
        """The parameters, of exactly that structure and sorted by name.

        Raises :class:`WireError`, and nothing else, for bytes that no ``encode`` made.
        """
        ...

    def length(self, structure: "Structure") -> int:
        """Bytes of parameters of that structure, without making them; never fewer than they are."""
        ...


CODECS: Registry[Codec] = Registry("codec", {"plain": "fedtt.federated.wire.plain:PLAIN"})
