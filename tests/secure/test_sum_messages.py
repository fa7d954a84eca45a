"""Messages of a secure sum: back as they were, and no other bytes are taken."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.secure.sums import Leaving, dealt, terms_of

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.secure import sum_messages as wire
from fedtt.federated.secure.ring_encoding import RingEncoding

STRUCTURE = p.structure_of({"a": torch.zeros(4)})
ENCODING = RingEncoding(structure=STRUCTURE, value_range=1.0, most_weight=1, clients=3)
TERMS = terms_of(3, 3)


def test_every_message_comes_back_as_it_was() -> None:
    _, gathering = dealt(TERMS, Leaving(), words=ENCODING.words)
    roster, own = gathering.roster, gathering.dealt[2]
    assert wire.unpack_roster(wire.pack_roster(roster), clients=3) == roster
    assert wire.unpack_dealt(wire.pack_dealt(own), others={1, 3}) == own
    sealed = gathering.sealed_for(1)
    assert wire.unpack_sealed(wire.pack_sealed(sealed), clients=3) == sealed
    assert wire.unpack_places(wire.pack_places({3, 1}), clients=3) == {1, 3}
    shares = {1: 5, 3: 2**256 + 7}
    assert wire.unpack_revealed(wire.pack_revealed(shares), dealt=shares) == shares
    words = np.array([0, 1, 2**32 - 1, 7, 8, 9, 10], dtype=np.uint32)
    blob = wire.pack_masked(words, ENCODING)
    assert len(blob) == wire.masked_length(ENCODING)
    assert wire.unpack_masked(blob, ENCODING).tolist() == words.tolist()


def test_a_masked_update_of_other_parameters_is_refused() -> None:
    other = p.structure_of({"b": torch.zeros(4)})
    blob = wire.pack_masked(
        np.zeros(7, np.uint32),
        RingEncoding(structure=other, value_range=1.0, most_weight=1, clients=3),
    )
    with pytest.raises(WireError, match="of other parameters"):
        wire.unpack_masked(blob, ENCODING)


@settings(max_examples=200)
@given(blob=st.binary(max_size=300), size=st.integers(1, 5))
def test_any_bytes_are_a_message_or_refused(blob: bytes, size: int) -> None:
    others = set(range(1, size + 1))
    for read in (
        lambda: wire.unpack_keys(blob),
        lambda: wire.unpack_roster(blob, clients=size),
        lambda: wire.unpack_dealt(blob, others=others),
        lambda: wire.unpack_sealed(blob, clients=size),
        lambda: wire.unpack_masked(blob, ENCODING),
        lambda: wire.unpack_places(blob, clients=size),
        lambda: wire.unpack_revealed(blob, dealt=others),
    ):
        try:
            read()
        except WireError:
            continue


@pytest.mark.parametrize("places", [[0], [4], [2, 1], [1, 1], [1, 2, 3, 4]])
def test_places_of_nobody_twice_or_out_of_order_are_refused(places: list[int]) -> None:
    blob = b"".join(place.to_bytes(2, "big") for place in places)
    with pytest.raises(WireError, match=r"a table of (other places|another length)"):
        wire.unpack_places(blob, clients=3)
