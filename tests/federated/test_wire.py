import hashlib
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.frame import MAX_HEADER_BYTES, Frame, seal
from fedtt.federated.wire.payload import decode, encode, structure_digest
from fedtt.federated.wire.update import decode_update, encode_update

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])
structures = st.dictionaries(
    st.text(min_size=1, max_size=8), st.tuples(shapes, dtypes), min_size=1, max_size=6
)


def make(structure: dict[str, tuple], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator).to(dtype)
        for name, (shape, dtype) in structure.items()
    }


PARAMS = make({"core_1": ((5, 8, 5), torch.float32), "core_0": ((1, 8, 5), torch.float32)})
STRUCTURE = p.structure_of(PARAMS)


@given(structures, st.integers(0, 99))
def test_decode_undoes_encode_bit_for_bit(structure: dict, seed: int) -> None:
    params = make(structure, seed)
    decoded, metadata = decode(encode(params, metadata={"k": "v"}), expected=p.structure_of(params))
    assert metadata["k"] == "v"
    assert p.structure_of(decoded) == p.structure_of(params)
    assert all(torch.equal(decoded[name], params[name]) for name in params)


def test_the_same_params_are_always_the_same_bytes() -> None:
    metadata = {f"key {i}": "value" for i in range(9)}
    first = encode(PARAMS, metadata=metadata)
    assert first == encode(PARAMS, metadata=dict(reversed(metadata.items())))
    assert first == encode(dict(reversed(PARAMS.items())), metadata=metadata)


def test_overhead_beside_the_numbers_is_small_and_names_do_not_travel() -> None:
    payload = encode(PARAMS)
    assert len(payload) - 4 * (40 + 200) < 100  # 40 = 1*8*5, 200 = 5*8*5
    assert b"core_0" not in payload


def test_update_payloads_of_one_structure_have_one_length() -> None:
    def length(num_examples: int, loss: float) -> int:
        update = ClientUpdate(delta=PARAMS, num_examples=num_examples, num_steps=3, loss=loss)
        return len(encode_update(update))

    assert len({length(1, 0.0), length(10**9, 1 / 3), length(77, 1e-300), length(5, -2.5)}) == 1


def test_update_survives_the_wire() -> None:
    update = ClientUpdate(delta=PARAMS, num_examples=12, num_steps=3, loss=0.1)
    back = decode_update(encode_update(update), expected=STRUCTURE)
    assert (back.num_examples, back.num_steps, back.loss) == (12, 3, 0.1)
    assert all(torch.equal(back.delta[name], PARAMS[name]) for name in PARAMS)


def sealed(body: bytes = b"", **changes: object) -> bytes:
    """A frame whose checksum is right, whatever is in it."""
    header = {"codec": "plain", "structure": structure_digest(STRUCTURE), **changes}
    return seal(Frame(header=header, body=body))  # type: ignore[arg-type]


def with_header(text: bytes, *, length: int | None = None) -> bytes:
    """A frame whose checksum is right and whose header says that."""
    rest = (len(text) if length is None else length).to_bytes(4, "little") + text
    return b"FTT2" + hashlib.sha256(rest).digest()[:16] + rest


BODY = bytes(4 * 240)
BAD_PAYLOADS = {
    "empty": (b"", "wrong size"),
    "too long": (encode(PARAMS) + b"\0" * (MAX_HEADER_BYTES + 8), "wrong size"),
    "cut short": (encode(PARAMS)[:-4], "damaged, or cut short"),
    "of the first format": (
        save({"F32": torch.zeros(240)}, {"fedtt": '{"format": "fedtt-flat-1"}'}),
        "another format(.|\n)*expected: b'FTT2'",
    ),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 200, "another format"),
    "a gigabyte announced": (with_header(b"{}", length=2**31), "impossible length"),
    "no header": (with_header(b""), "impossible length"),
    "header is not JSON": (with_header(b"x" * 400), "cannot be read"),
    "header is a list": (with_header(b"[]"), "not a table"),
    "a number in the header": (sealed(BODY, num_examples=3), "not a table of texts"),
    "a number of 5,000 digits": (with_header(b'{"x":' + b"9" * 5000 + b"}"), "5000 digits"),
    "a key twice": (with_header(b'{"codec":"plain","codec":"plain"}'), "stands twice"),
    "nested too deep": (with_header(b"[" * 7992), "cannot be read"),
    "another codec": (sealed(BODY, codec="int8"), "another codec\n  got: int8\n  expected: plain"),
    "no codec": (with_header(b"{}"), "another codec\n  expected: plain"),
    "other names": (encode({"x": PARAMS["core_0"]}), "made for other parameters"),
    "fewer numbers": (sealed(BODY[4:]), "another length than its parameters"),
    "more numbers": (sealed(BODY + b"1234"), "another length than its parameters"),
}


@pytest.mark.parametrize("case", BAD_PAYLOADS)
def test_a_bad_payload_is_refused_with_its_reason(case: str) -> None:
    payload, message = BAD_PAYLOADS[case]
    with pytest.raises(WireError, match=message):
        decode(payload, expected=STRUCTURE)


@given(st.binary(max_size=400))
def test_garbage_never_gets_past_as_anything_but_a_wire_error(payload: bytes) -> None:
    with pytest.raises(WireError):
        decode(payload, expected=STRUCTURE)


def test_no_changed_payload_is_accepted() -> None:
    """Every bit flipped once; then bytes changed, swapped, cut, doubled and moved, at random."""
    one, other = _update(), _update(loss=2.0)
    assert len(one) == len(other)
    for bit in range(8 * len(one)):
        changed = bytearray(one)
        changed[bit // 8] ^= 1 << bit % 8
        refused(bytes(changed), one)
    stream = random.Random(0)
    for _ in range(3000):
        refused(mutated(one, other, stream), one, other)


def refused(payload: bytes, *sent: bytes) -> None:
    if payload not in sent:
        with pytest.raises(WireError):
            decode_update(payload, expected=STRUCTURE)


def mutated(one: bytes, other: bytes, stream: random.Random) -> bytes:
    first, second = sorted(stream.sample(range(len(one) + 1), 2))
    kind = stream.randrange(6)
    if kind == 0:
        return one[:first] + stream.randbytes(second - first) + one[second:]
    if kind == 1:  # two payloads that are right, put together
        return one[:first] + other[first:]
    if kind == 2:
        return one[:second]
    if kind == 3:
        return one[:second] + one[first:]
    if kind == 4:
        return one[:first] + one[second:]
    return one[second:] + one[first:second] + one[:first]


def _update(**changes: object) -> bytes:
    values = {"delta": PARAMS, "num_examples": 5, "num_steps": 1, "loss": 1.0, **changes}
    return encode_update(ClientUpdate(**values))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (_update(num_examples=0), "impossible num_examples"),
        (_update(num_steps=-3), "impossible num_steps"),
        (_update(num_examples=10**400), "impossible num_examples"),
        (_update(num_examples=10**12), "impossible num_examples"),
        (_update(loss=float("nan")), "an impossible loss"),
        (_update(delta={**PARAMS, "core_0": torch.full((1, 8, 5), torch.nan)}), "where: core_0"),
        (encode(PARAMS), "impossible num_examples"),
    ],
)
def test_an_implausible_update_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_update(payload, expected=STRUCTURE)


def test_a_type_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(WireError, match=r"cannot be sent\n  got: torch.int64"):
        encode({"x": torch.zeros(2, dtype=torch.int64)})
