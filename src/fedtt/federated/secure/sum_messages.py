"""What client and server of a secure sum send each other, as bytes of known lengths.

Everything but the masked update is laid out by the places of those who take part, ascending; a
place is two bytes (big-endian). Lengths are checked before anything else, and every refusal is a
:class:`WireError`.
"""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from fedtt.errors import WireError
from fedtt.federated.secure.ring_encoding import WORD_BYTES, RingEncoding, Words
from fedtt.federated.secure.round_keys import KEY_BYTES
from fedtt.federated.secure.shamir import SHARE_BYTES
from fedtt.federated.secure.sum_client import SEALED_BYTES, Dealt
from fedtt.federated.secure.sum_terms import Place, PublicKeys
from fedtt.federated.wire.frame import Frame, seal, sealed_length, unseal
from fedtt.federated.wire.payload import structure_digest

CODEC = "secure-sum"  # in the place of a codec's name
PLACE_BYTES = 2
KEYS_BYTES = 2 * KEY_BYTES


def pack_keys(keys: PublicKeys) -> bytes:
    """A client's public keys."""
    return keys.box + keys.mask


def unpack_keys(blob: bytes) -> PublicKeys:
    """See :func:`pack_keys`."""
    _check_length(blob, KEYS_BYTES, what="public keys")
    return PublicKeys(box=blob[:KEY_BYTES], mask=blob[KEY_BYTES:])


def pack_roster(roster: Mapping[Place, PublicKeys]) -> bytes:
    """Everybody's public keys."""
    return _pack_table({place: pack_keys(keys) for place, keys in roster.items()})


def unpack_roster(blob: bytes, *, clients: int) -> dict[Place, PublicKeys]:
    """See :func:`pack_roster`; of a round of so many."""
    table = _unpack_table(blob, KEYS_BYTES, clients=clients)
    return {place: unpack_keys(keys) for place, keys in table.items()}


def pack_dealt(dealt: Dealt) -> bytes:
    """A client's commitment, and its sealed shares."""
    return dealt.commitment + b"".join(dealt.sealed[place] for place in sorted(dealt.sealed))


def unpack_dealt(blob: bytes, *, others: Collection[Place]) -> Dealt:
    """See :func:`pack_dealt`; the shares are for those others."""
    _check_length(blob, KEY_BYTES + len(others) * SEALED_BYTES, what="sealed shares")
    pieces = _pieces(blob[KEY_BYTES:], SEALED_BYTES)
    sealed = dict(zip(sorted(others), pieces, strict=True))
    return Dealt(sealed=sealed, commitment=blob[:KEY_BYTES])


def pack_sealed(sealed: Mapping[Place, bytes]) -> bytes:
    """What the others dealt to a client, by sender."""
    return _pack_table(sealed)


def unpack_sealed(blob: bytes, *, clients: int) -> dict[Place, bytes]:
    """See :func:`pack_sealed`."""
    return _unpack_table(blob, SEALED_BYTES, clients=clients)


def pack_masked(words: Words, encoding: RingEncoding) -> bytes:
    """A masked update, in a frame: it names the parameters that it is of, and has a checksum."""
    return seal(Frame(header=_header(encoding), body=words.astype("<u4").tobytes()))


def masked_length(encoding: RingEncoding) -> int:
    """Length of a masked update, without making it."""
    return sealed_length(_header(encoding), body_length=WORD_BYTES * encoding.words)


def unpack_masked(blob: bytes, encoding: RingEncoding) -> Words:
    """See :func:`pack_masked`."""
    _check_length(blob, masked_length(encoding), what="a masked update")
    frame = unseal(blob)
    if dict(frame.header) != _header(encoding):
        raise WireError(
            "a masked update of other parameters (names, shapes or types)",
            fix="run server and clients with the same method, model and configuration",
        )
    return np.frombuffer(frame.body, "<u4").astype(np.uint32)


def pack_places(places: Collection[Place]) -> bytes:
    """Who, of the round."""
    return b"".join(place.to_bytes(PLACE_BYTES, "big") for place in sorted(places))


def unpack_places(blob: bytes, *, clients: int) -> frozenset[Place]:
    """See :func:`pack_places`."""
    return frozenset(_unpack_table(blob, 0, clients=clients))


def pack_revealed(shares: Mapping[Place, int]) -> bytes:
    """One share of each client that dealt any."""
    return b"".join(shares[place].to_bytes(SHARE_BYTES, "big") for place in sorted(shares))


def unpack_revealed(blob: bytes, *, dealt: Collection[Place]) -> dict[Place, int]:
    """See :func:`pack_revealed`."""
    _check_length(blob, len(dealt) * SHARE_BYTES, what="revealed shares")
    numbers = (int.from_bytes(piece, "big") for piece in _pieces(blob, SHARE_BYTES))
    return dict(zip(sorted(dealt), numbers, strict=True))


def _header(encoding: RingEncoding) -> dict[str, str]:
    return {"codec": CODEC, "structure": structure_digest(encoding.structure)}


def _pack_table(table: Mapping[Place, bytes]) -> bytes:
    return b"".join(place.to_bytes(PLACE_BYTES, "big") + table[place] for place in sorted(table))


def _unpack_table(blob: bytes, size: int, *, clients: int) -> dict[Place, bytes]:
    row = PLACE_BYTES + size
    if len(blob) % row or len(blob) > clients * row:
        raise WireError("a table of another length", got=len(blob), expected=f"{row} bytes a row")
    rows = [(int.from_bytes(r[:PLACE_BYTES], "big"), r[PLACE_BYTES:]) for r in _pieces(blob, row)]
    places = [place for place, _ in rows]
    if places != sorted(set(places)) or not set(places) <= set(range(1, clients + 1)):
        raise WireError("a table of other places than the round's", got=places[:5])
    return dict(rows)


def _pieces(blob: bytes, size: int) -> Iterator[bytes]:
    return (blob[start : start + size] for start in range(0, len(blob), size))


def _check_length(blob: bytes, expected: int, *, what: str) -> None:
    if len(blob) != expected:
        raise WireError(f"{what} of another length", got=len(blob), expected=f"{expected} bytes")
