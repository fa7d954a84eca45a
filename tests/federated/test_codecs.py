"""Properties of every row of ``CODECS``: a new codec is held to them without an edit here."""

import math
import tracemalloc
import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.wire.chance import uniform
from fedtt.federated.wire.codec import CODECS, Codec, CodecOptions
from fedtt.federated.wire.deflated import Deflated
from fedtt.federated.wire.flat import rounded_up
from fedtt.federated.wire.levels import Levels

CASES = [f"{name}, {rounding}" for name, rounding in product(CODECS, ("by chance", "to nearest"))]
CASES += [f"{case}, deflated" for case in CASES]
LOSSY = [case for case in CASES if CODECS[case.partition(",")[0]].lossy]
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Of the largest magnitude in a number's block: how far off it may be, at the most.
BOUNDS = {
    "bfloat16, by chance": 2**-7,
    "bfloat16, to nearest": 2**-8,
    "int8, by chance": 1.01 / 127,
    "int8, to nearest": 1.01 / 127 / 2,
    "int4, by chance": 1.01 / 7,
    "int4, to nearest": 1.01,  # the outermost levels take what lies outside
    "int2, by chance": 0.68,
    "int2, to nearest": 1.01,
    "sign, by chance": 2.02,
    "sign, to nearest": 1.01,
}


def codec_of(case: str, *, block: int = 64) -> Codec:
    name, rounding, *deflated = case.split(", ")
    codec = CODECS[name].build(CodecOptions(block=block, stochastic=rounding == "by chance"))
    return Deflated(inner=codec) if deflated else codec


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Parameters, a block size and a seed."""

    params: dict[str, torch.Tensor]
    block: int
    seed: int


sizes = st.sampled_from([0.0, 1e-45, 1e-39, 1e-8, 1.0, 6e4, 1e30, 3.3e38])


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    params = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=4), max_size=5, unique=True)):
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
        dtype = draw(st.sampled_from(DTYPES))
        generator = np.random.default_rng(draw(st.integers(0, 99)))
        values = generator.uniform(-1, 1, shape) * draw(sizes)
        values *= generator.random(shape) < draw(st.sampled_from([0.1, 1.0]))
        largest = min(torch.finfo(dtype).max, 3.3e38)
        tensor = torch.tensor(values, dtype=torch.float64).clamp(-largest, largest)
        params[name] = tensor.to(dtype)
    return Drawn(
        params=params,
        block=draw(st.sampled_from([1, 7, 64, 1000])),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


@pytest.mark.parametrize("case", CASES)
@given(drawn())
def test_what_is_decoded_has_the_structure_and_the_length_that_were_said(
    case: str, given_: Drawn
) -> None:
    codec = codec_of(case, block=given_.block)
    structure = p.structure_of(given_.params)
    body = codec.encode(given_.params, seed=given_.seed)
    assert len(body) <= codec.length(structure)
    assert body == codec.encode(dict(reversed(given_.params.items())), seed=given_.seed)
    decoded = codec.decode(body, expected=structure)
    assert p.structure_of(decoded) == structure
    assert list(decoded) == sorted(structure)
    assert not p.non_finite_names(decoded)


@pytest.mark.parametrize("case", CASES)
@given(drawn())
def test_a_number_is_off_by_no_more_than_its_block_allows(case: str, given_: Drawn) -> None:
    codec = codec_of(case, block=given_.block)
    decoded = codec.decode(
        codec.encode(given_.params, seed=given_.seed), expected=p.structure_of(given_.params)
    )
    sent, got = (flat(params) for params in (given_.params, decoded))
    if not len(sent):
        return
    largest = largest_of_block(sent, 1 if case.startswith("bfloat16") else given_.block)
    # What the tensors' own types lose, and the smallest scale that there is.
    limits = {name: torch.finfo(t.dtype) for name, t in given_.params.items()}
    tensors = given_.params.items()
    eps = flat({n: torch.full(t.shape, limits[n].eps) for n, t in tensors})
    least = flat({n: torch.full(t.shape, limits[n].tiny * limits[n].eps) for n, t in tensors})
    slack = (2 * eps * largest + least + 2e-40) * (case in LOSSY)
    bound = BOUNDS.get(case.removesuffix(", deflated"), 0.0)
    assert (np.abs(sent - got) <= bound * largest + slack).all()


def largest_of_block(numbers: np.ndarray, block: int) -> np.ndarray:
    padded = np.zeros(math.ceil(len(numbers) / block) * block)
    padded[: len(numbers)] = np.abs(numbers)
    return np.repeat(padded.reshape(-1, block).max(axis=1), block)[: len(numbers)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_stay_zeros(case: str, dtype: torch.dtype) -> None:
    params = {"a": torch.zeros(5, 13, dtype=dtype), "b": torch.zeros(3, dtype=dtype)}
    codec = codec_of(case, block=16)
    decoded = codec.decode(codec.encode(params, seed=1), expected=p.structure_of(params))
    assert all(torch.equal(decoded[name], params[name]) for name in params)


@pytest.mark.parametrize("case", [c for c in LOSSY if not c.startswith(("sign", "int2"))])
def test_a_zero_among_others_stays_a_zero(case: str) -> None:
    values = torch.randn(640, generator=torch.Generator().manual_seed(0))
    values[::3] = 0
    codec, params = codec_of(case), {"w": values}
    decoded = codec.decode(codec.encode(params, seed=1), expected=p.structure_of(params))["w"]
    assert bool((decoded[::3] == 0).all())


@pytest.mark.parametrize("case", [case for case in LOSSY if case.endswith("by chance")])
def test_rounding_by_chance_is_right_in_the_mean(case: str) -> None:
    """The mean over 4,000 seeds is within 5 standard errors of each of 80 numbers."""
    values = torch.randn(80, generator=torch.Generator().manual_seed(3)) * 1e-3
    params, seeds = {"w": values}, 4000
    codec = codec_of(case, block=16)
    structure = p.structure_of(params)
    decoded = torch.stack(
        [codec.decode(codec.encode(params, seed=s), expected=structure)["w"] for s in range(seeds)]
    ).double()
    error = decoded.std(dim=0) / seeds**0.5
    off = (decoded.mean(dim=0) - values.double()).abs()
    assert bool((off <= 5 * error + 1e-6 * values.abs()).all())
    assert float(error.max()) > 0  # it is rounded by chance at all


@pytest.mark.parametrize("case", [case for case in LOSSY if case.endswith("by chance")])
def test_another_seed_rounds_otherwise_and_the_same_one_alike(case: str) -> None:
    params = {"w": torch.randn(300, generator=torch.Generator().manual_seed(0))}
    codec = codec_of(case)
    assert codec.encode(params, seed=1) == codec.encode(params, seed=1)
    assert codec.encode(params, seed=1) != codec.encode(params, seed=2)


@pytest.mark.parametrize("case", [case for case in LOSSY if case.endswith("to nearest")])
def test_rounding_to_the_nearest_needs_no_seed(case: str) -> None:
    params = {"w": torch.randn(300, generator=torch.Generator().manual_seed(0))}
    assert codec_of(case).encode(params, seed=1) == codec_of(case).encode(params, seed=2)


def test_bfloat16_to_nearest_is_torchs_own() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    values = torch.cat([values, torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, -0.0, 1e-40])])
    codec = codec_of("bfloat16, to nearest")
    decoded = codec.decode(
        codec.encode({"w": values}, seed=0), expected=p.structure_of({"w": values})
    )
    assert torch.equal(decoded["w"], values.bfloat16().float())


def test_int8_is_what_a_loop_makes_of_it() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    codec = codec_of("int8, to nearest", block=20)
    decoded = codec.decode(
        codec.encode({"w": values}, seed=0), expected=p.structure_of({"w": values})
    )
    wanted = []
    for start in (0, 20, 40):
        block = values[start : start + 20].tolist()
        largest = max(map(abs, block))
        nearest = torch.tensor(largest).bfloat16()
        scale = float((nearest.view(torch.int16) + (float(nearest) < largest)).view(torch.bfloat16))
        wanted += [round(x / scale * 127) / 127 * scale for x in block]
    assert torch.allclose(decoded["w"], torch.tensor(wanted), rtol=0, atol=1e-6)


def test_lengths_carry_their_arithmetic() -> None:
    structure = p.structure_of({"a": torch.zeros(10, 13), "b": torch.zeros(3)})
    lengths = {case: codec_of(case).length(structure) for case in CASES}
    assert lengths["bfloat16, by chance"] == 266  # 133 numbers of 2 bytes
    assert lengths["int8, by chance"] == 139  # 3 scales of 2 bytes, 133 codes
    assert lengths["int4, by chance"] == 73  # 6 + 67
    assert lengths["int2, by chance"] == 40  # 6 + 34
    assert lengths["sign, by chance"] == 23  # 6 + 17
    assert lengths["sign, by chance, deflated"] == 24  # at most: 1 + 23


@pytest.mark.parametrize("case", LOSSY)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_cannot_be_sent_is_refused_before_it_is(case: str, bad: float) -> None:
    params = {"w": torch.tensor([1.0, bad], dtype=torch.float64)}
    with pytest.raises(WireError, match="numbers that a lossy codec cannot send"):
        codec_of(case).encode(params, seed=0)


@pytest.mark.parametrize("case", CASES)
def test_a_type_that_cannot_be_sent_is_named(case: str) -> None:
    with pytest.raises(WireError, match=r"cannot be sent(.|\n)*torch.int64"):
        codec_of(case).encode({"x": torch.zeros(2, dtype=torch.int64)}, seed=0)


@pytest.mark.parametrize("case", CASES)
@given(st.data())
def test_any_body_is_decoded_or_refused(case: str, data: st.DataObject) -> None:
    """Bytes of the right length reach the codec's own checks; of a wrong one, none does."""
    structure = p.structure_of({"a": torch.zeros(3, 3), "b": torch.zeros(2, dtype=torch.float16)})
    codec = codec_of(case, block=4)
    length = codec.length(structure) + data.draw(st.sampled_from([0, 0, 0, -1, 1, 50]))
    assume(length >= 0)
    body = data.draw(st.binary(min_size=length, max_size=length))
    try:
        decoded = codec.decode(body, expected=structure)
    except WireError:
        return
    assert p.structure_of(decoded) == structure


BAD = {
    "a scale that is NaN": ("int4", b"\xc0\x7f", b"\x77" * 2, "not a number of at least 0"),
    "a scale that is infinite": ("sign", b"\x80\x7f", b"\xa0", "not a number of at least 0"),
    "a scale below zero": ("int2", b"\x80\xbf", b"\x55", "not a number of at least 0"),
    "a code that there is not": ("int4", b"\x80\x3f", b"\x7f\x77", "a code that its codec has not"),
    "something after the last code": ("sign", b"\x80\x3f", b"\xa1", "do not end where they should"),
    "a NaN": ("bfloat16", b"\xc0\x7f", b"\0\0" * 3, "not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_body_is_refused_with_its_reason(case: str) -> None:
    name, scale, codes, message = BAD[case]
    structure = p.structure_of({"w": torch.zeros(4)})
    with pytest.raises(WireError, match=message):
        codec_of(f"{name}, by chance").decode(scale + codes, expected=structure)


def test_the_search_for_a_scale_loses_no_more_than_the_largest_magnitude() -> None:
    values = torch.randn(64 * 50, generator=torch.Generator().manual_seed(0))
    codec = codec_of("int4, to nearest")
    assert isinstance(codec, Levels)
    structure = p.structure_of({"w": values})
    decoded = codec.decode(codec.encode({"w": values}, seed=0), expected=structure)["w"]
    largest = values.reshape(50, 64).abs().amax(dim=1, keepdim=True)
    largest = torch.from_numpy(rounded_up(largest.numpy()))
    plain = (values.reshape(50, 64) / largest * 7).round() / 7 * largest
    searched = (decoded - values).square().reshape(50, 64).sum(dim=1)
    assert bool((searched <= (plain - values.reshape(50, 64)).square().sum(dim=1) * 1.0001).all())
    assert float(searched.sum()) < 0.95 * float((plain.reshape(-1) - values).square().sum())


def test_the_stream_of_chance_is_the_same_for_ever() -> None:
    """Philox 4x64 of key 7: numpy promises its bits."""
    words = np.random.Philox(key=7).random_raw(2)
    assert list(uniform(7, 3)) == [
        np.float32((int(word) >> shift & 0xFFFFFFFF) >> 8) / np.float32(2**24)
        for word, shift in ((words[0], 0), (words[0], 32), (words[1], 0))
    ]
    numbers = uniform(1, 200_000)
    assert abs(float(numbers.mean()) - 0.5) < 5 * (1 / 12 / 200_000) ** 0.5
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1


def flat(params: dict[str, torch.Tensor]) -> np.ndarray:
    pieces = [params[name].double().flatten() for name in sorted(params)]
    return torch.cat(pieces).numpy() if pieces else np.zeros(0)


def raw(content: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(content) + deflater.flush()


WHOLE = raw(bytes(8))
NOT_DEFLATED = {
    "a bomb": (b"\1" + raw(bytes(10**7)), "and more to come"),
    "one byte more": (b"\1" + raw(bytes(9)), "and more to come"),
    "one byte less": (b"\1" + raw(bytes(7)), "another length than its parameters"),
    "something after the end": (b"\1" + WHOLE + b"x", "another end"),
    "no end": (b"\1" + WHOLE[:-1], "another end"),
    "no deflate": (b"\1" + b"\xff" * 9, "cannot be inflated"),
    "neither": (b"\2" + bytes(8), "does not say whether it is deflated"),
    "nothing": (b"", "does not say whether it is deflated"),
}


@pytest.mark.parametrize("case", NOT_DEFLATED)
def test_what_is_not_deflated_right_is_refused_before_it_is_inflated(case: str) -> None:
    body, message = NOT_DEFLATED[case]
    codec = codec_of("bfloat16, by chance, deflated")
    structure = p.structure_of({"w": torch.zeros(4)})
    tracemalloc.start()
    with pytest.raises(WireError, match=message):
        codec.decode(body, expected=structure)
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_what_is_regular_is_not_sent() -> None:
    params = {"w": torch.zeros(10_000)}
    body = codec_of("int4, by chance, deflated").encode(params, seed=0)
    assert len(body) < 60
    assert len(codec_of("int4, by chance").encode(params, seed=0)) == 5314  # 5000 + 2 * 157
