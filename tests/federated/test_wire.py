import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire import (
    MAX_HEADER_BYTES,
    decode,
    decode_update,
    encode,
    encode_update,
    structure_digest,
)

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
    assert len(payload) - 4 * (40 + 200) < 300  # 40 = 1*8*5, 200 = 5*8*5
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


def altered_header(**changes: object) -> bytes:
    payload = encode(PARAMS)
    length = int.from_bytes(payload[:8], "little")
    header = {**json.loads(payload[8 : 8 + length]), **changes}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload[8 + length :]


ANNOUNCEMENT = {"format": "fedtt-flat-1", "structure": structure_digest(STRUCTURE)}
METADATA = {"fedtt": json.dumps(ANNOUNCEMENT)}
BAD_PAYLOADS = {
    "empty": (b"", "wrong size"),
    "a gigabyte announced": (b"\xff" * 7 + b"\x7f" + b"{}", "impossible length"),
    "too long": (encode(PARAMS) + b"\0" * (MAX_HEADER_BYTES + 8), "wrong size"),
    "cut short": (encode(PARAMS)[:-4], "not valid safetensors"),
    "header is not JSON": ((16).to_bytes(8, "little") + b"x" * 400, "cannot be read"),
    "header is a list": ((2).to_bytes(8, "little") + b"[]" + b"\0" * 99, "not a table"),
    "no metadata": (save({"F32": torch.zeros(240)}), "another format\n  expected: fedtt-flat-1"),
    "other names": (encode({"x": PARAMS["core_0"]}), "made for other parameters"),
    "metadata is not JSON": (save({"F32": torch.zeros(240)}, {"fedtt": "{"}), "cannot be read"),
    "metadata is a list": (save({"F32": torch.zeros(240)}, {"fedtt": "[1]"}), "not a table"),
    "other tensors": (
        save({"F32": torch.zeros(240), "F16": torch.zeros(1).half()}, metadata=METADATA),
        "announces other tensors",
    ),
    "other size": (save({"F32": torch.zeros(239)}, metadata=METADATA), "announces other tensors"),
    "offsets out of range": (
        altered_header(F32={"dtype": "F32", "shape": [240], "data_offsets": [0, 10**12]}),
        "not valid safetensors",
    ),
    "header nested too deep": ((7000).to_bytes(8, "little") + b"[" * 7992, "cannot be read"),
    "metadata nested too deep": (
        save({"F32": torch.zeros(240)}, {"fedtt": "[" * 7000}),
        "cannot be read",
    ),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 200, "impossible length"),
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


@given(st.integers(0, 1500), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_changes_only_numbers(position: int, value: int) -> None:
    payload = bytearray(
        encode_update(ClientUpdate(delta=PARAMS, num_examples=5, num_steps=1, loss=1))
    )
    payload[position % len(payload)] = value
    try:
        update = decode_update(bytes(payload), expected=STRUCTURE)
    except WireError:
        return
    assert p.structure_of(update.delta) == STRUCTURE
    assert not p.non_finite_names(update.delta)


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
