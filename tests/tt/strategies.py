"""Random trains for the tests of ``fedtt.tt``, and their slow dense oracle."""

import functools
import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from torch import Tensor

from fedtt.tt import TTShape


@st.composite
def tt_shapes(draw: st.DrawFn, *, max_side: int = 3, max_mode: int = 5) -> TTShape:
    """Shapes of any mode sizes (1 included) and ranks, also ranks above any unfolding's."""
    sides = st.lists(st.integers(1, max_mode), min_size=1, max_size=max_side)
    in_modes, out_modes = draw(sides), draw(sides)
    bonds = len(in_modes) + len(out_modes) - 1
    inner = draw(st.lists(st.integers(1, 4), min_size=bonds, max_size=bonds))
    return TTShape(in_modes=tuple(in_modes), out_modes=tuple(out_modes), ranks=(1, *inner, 1))


seeds = st.integers(0, 2**32 - 1)


def random_cores(
    shape: TTShape, seed: int, *, clients: int | None = None, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lead = () if clients is None else (clients,)
    return [
        torch.randn(*lead, *core_shape, generator=generator, dtype=dtype)
        for core_shape in shape.core_shapes
    ]


def random_matrix(shape: TTShape, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (shape.in_features, shape.out_features)
    return torch.randn(size, generator=generator, dtype=torch.float64)


def dense_oracle(cores: Sequence[Tensor], split: int) -> Tensor:
    """The whole tensor by chained tensordot, reshaped row-major to the matrix."""
    tensor = functools.reduce(lambda left, right: torch.tensordot(left, right, dims=1), cores)
    rows = math.prod(core.shape[1] for core in cores[:split])
    return tensor.reshape(rows, -1)


def unfolding_tails(matrix: Tensor, shape: TTShape) -> list[float]:
    """Per bond, the smallest error of cutting that unfolding alone to the bond's rank."""
    tails = []
    for bond in range(1, shape.num_cores):
        unfolding = matrix.reshape(math.prod(shape.modes[:bond]), -1)
        values = torch.linalg.svdvals(unfolding)
        tails.append(values[shape.ranks[bond] :].norm().item())
    return tails
