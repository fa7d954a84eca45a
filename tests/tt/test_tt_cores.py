"""Initialization keeps its promise about the dense matrix; trains are checked."""

import math

import pytest
import torch
from torch import Tensor

from fedtt.errors import ConfigError, ShapeError
from fedtt.tt import TTShape, core_std, init_cores, to_dense, tt_shape
from fedtt.tt.cores import check_cores

STD = 0.02
SHAPES = {
    "768x64": tt_shape(768, 64, rank=5),
    "64x768": tt_shape(64, 768, rank=5),
    "unequal ranks": TTShape(in_modes=(3, 8), out_modes=(5, 4), ranks=(1, 2, 7, 3, 1)),
    "two cores": tt_shape(24, 10, rank=4, in_modes=(24,), out_modes=(10,)),
    "rank 1": tt_shape(48, 30, rank=1, in_modes=(6, 8), out_modes=(30,)),
}


def draw_dense(shape: TTShape, *, draws: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    trains = [init_cores(shape, std=STD, generator=generator) for _ in range(draws)]
    stacked = [torch.stack(cores) for cores in zip(*trains, strict=True)]
    return to_dense(stacked, split=shape.split)  # (draws, M, N)


def z_score(samples: Tensor, expected: float) -> float:
    error = samples.std() / math.sqrt(samples.numel())
    return ((samples.mean() - expected) / error).item()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_dense_standard_deviation(shape: TTShape) -> None:
    # Draws are independent, entries of one draw are not: one mean square and one mean a draw.
    # |z| < 4.9 fails a right initializer once in a million; forgetting one rank of the index
    # paths changes the mean square by a factor of 2 or more, at least 18 standard errors.
    dense = draw_dense(shape, draws=1000, seed=1).double()
    assert abs(z_score(dense.square().mean(dim=(1, 2)), STD**2)) < 4.9
    assert abs(z_score(dense.mean(dim=(1, 2)), 0.0)) < 4.9


def test_every_dense_entry_has_the_same_spread() -> None:
    shape = SHAPES["unequal ranks"]  # 24 x 20 = 480 entries
    squares = draw_dense(shape, draws=4000, seed=2).double().square()
    z = (squares.mean(0) - STD**2) / (squares.std(0) / math.sqrt(len(squares)))
    # Union bound over 480 entries: |z| < 6 fails a right initializer once in a million, by the
    # normal law; the mean of a heavy-tailed square falls short more easily than it exceeds.
    assert z.max() < 6
    assert z.min() > -9


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_core_has_the_core_standard_deviation(shape: TTShape) -> None:
    generator = torch.Generator().manual_seed(3)
    trains = [init_cores(shape, std=STD, generator=generator) for _ in range(500)]
    for cores in zip(*trains, strict=True):
        entries = torch.stack(cores).double() / core_std(shape, STD)
        # A sum of n squares of standard normals has mean n and variance 2 n.
        z = (entries.square().sum() - entries.numel()) / math.sqrt(2 * entries.numel())
        assert abs(z) < 4.9


def test_core_std_by_hand() -> None:
    # 768 x 64 at rank 5: 5 cores, 5^4 = 625 index paths, sqrt 25.
    assert core_std(tt_shape(768, 64, rank=5), 0.02) == pytest.approx((0.02 / 25) ** (1 / 5))
    # Ranks 2, 7, 3: 42 index paths, 4 cores.
    expected = (0.02 / math.sqrt(42)) ** (1 / 4)
    assert core_std(SHAPES["unequal ranks"], 0.02) == pytest.approx(expected)


@pytest.mark.parametrize("std", [0.0, -0.1, math.nan, math.inf])
def test_a_useless_standard_deviation_is_refused(std: float) -> None:
    message = r"must be positive and finite\n  where: TT initialization\n  got: .*\n  fix: to start"
    with pytest.raises(ConfigError, match=message):
        init_cores(SHAPES["768x64"], std=std, generator=None)


def test_the_generator_decides_the_cores() -> None:
    shape = SHAPES["768x64"]
    draws = [
        init_cores(shape, std=STD, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    ]
    assert all(torch.equal(a, b) for a, b in zip(draws[0], draws[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(draws[0], draws[2], strict=True))
    assert tuple(tuple(core.shape) for core in draws[0]) == shape.core_shapes


def test_low_precision_cores_are_the_rounded_float32_ones() -> None:
    shape = SHAPES["768x64"]
    full, half = (
        init_cores(shape, std=STD, generator=torch.Generator().manual_seed(5), dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert all(torch.equal(a.bfloat16(), b) for a, b in zip(full, half, strict=True))


def test_cores_on_the_meta_device_need_no_generator_there() -> None:
    shape = tt_shape(8192, 64, rank=5)
    for generator in (None, torch.Generator().manual_seed(0)):
        cores = init_cores(shape, std=STD, generator=generator, device="meta")
        assert {core.device.type for core in cores} == {"meta"}
        assert sum(core.numel() for core in cores) == shape.num_parameters
    with torch.device("meta"):
        cores = init_cores(shape, std=STD, generator=torch.Generator("cpu").manual_seed(0))
    assert {core.device.type for core in cores} == {"meta"}


def test_check_cores_tells_the_number_of_clients() -> None:
    assert check_cores([torch.ones(1, 4, 3), torch.ones(3, 5, 1)], where="here") is None
    assert check_cores([torch.ones(7, 1, 4, 3), torch.ones(7, 3, 5, 1)], where="here") == 7


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [(1, 4)],
        [(1, 4, 3), (2, 5, 1)],  # neighbours
        [(2, 4, 3), (3, 5, 1)],  # first boundary
        [(1, 4, 3), (3, 5, 2)],  # last boundary
        [(6, 1, 4, 3), (3, 5, 1)],  # a client dimension on one core only
        [(6, 1, 4, 3), (7, 3, 5, 1)],  # different numbers of clients
        [(2, 6, 1, 4, 3), (2, 6, 3, 5, 1)],
    ],
)
def test_what_is_no_train_is_refused(sizes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ShapeError, match="do not form a tensor train\n  where: here\n") as caught:
        check_cores([torch.ones(size) for size in sizes], where="here")
    assert f"got: {sizes}" in str(caught.value)
