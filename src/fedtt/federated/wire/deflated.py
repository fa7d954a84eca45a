"""A codec's bytes with what is regular in them taken out: deflate (RFC 1951), by zlib.

::

    body = 1, the deflated bytes of the codec within; or, where those are not shorter, 0, the bytes

What is inflated is never longer than the codec within can write: a body that claims to be is
refused before it is, so a peer cannot make a few bytes into many.
"""

import zlib
from dataclasses import dataclass

from torch import Tensor

from fedtt.errors import WireError
from fedtt.federated.wire.codec import Codec
from fedtt.params import Params, Structure

AS_IT_IS, DEFLATED = b"\0", b"\1"
RAW = -15  # zlib's way to say: the largest window, and no header or checksum of its own


@dataclass(frozen=True, kw_only=True)
class Deflated:
    """``inner``, deflated."""

    inner: Codec

    @property
    def name(self) -> str:
        """That of ``inner``, and what became of it."""
        return f"{self.inner.name}, deflated"

    def encode(self, params: Params, *, seed: int) -> bytes:
        """Raises what ``inner`` raises."""
        body = self.inner.encode(params, seed=seed)
        deflater = zlib.compressobj(9, zlib.DEFLATED, RAW)
        short = deflater.compress(body) + deflater.flush()
        return DEFLATED + short if len(short) < len(body) else AS_IT_IS + body

    def decode(self, body: bytes, *, expected: Structure) -> dict[str, Tensor]:
        """Raises :class:`WireError` for what is not deflated right, and what ``inner`` raises."""
        kind, content = body[:1], body[1:]
        if kind == DEFLATED:
            content = _inflated(content, most=self.inner.length(expected))
        elif kind != AS_IT_IS:
            raise WireError("a payload does not say whether it is deflated", got=repr(kind))
        return self.inner.decode(content, expected=expected)

    def length(self, structure: Structure) -> int:
        """At most: how much is regular shows only in the numbers."""
        return 1 + self.inner.length(structure)


def _inflated(content: bytes, *, most: int) -> bytes:
    inflater = zlib.decompressobj(RAW)
    try:
        body = inflater.decompress(content, most + 1)  # 0 would mean: without a limit
    except zlib.error as error:
        raise WireError("a payload cannot be inflated", got=error) from error
    if len(body) > most or not inflater.eof or inflater.unused_data:
        raise WireError(
            "a payload is not deflated right",
            got=f"{len(body)} bytes and more to come" if len(body) > most else "another end",
            expected=f"at most {most} bytes, and nothing after them",
        )
    return body
