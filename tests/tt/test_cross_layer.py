"""The train over all layers: what its factors are, how it starts, and which ranks fit."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedtt.errors import ShapeError
from fedtt.tt import (
    CrossLayerShape,
    MatrixPlace,
    block_of,
    cross_layer_factors,
    init_cross_layer_cores,
    to_dense,
)


def shape_of(*ranks: int) -> CrossLayerShape:
    return CrossLayerShape(
        in_sizes=(6, 9), layers=4, projections=3, out_sizes=(8, 5), ranks=ranks or (3, 4, 2)
    )


def random_cores(shape: CrossLayerShape) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shape.core_shapes]


@st.composite
def shapes(draw: st.DrawFn) -> CrossLayerShape:
    """Any shape with ranks that fit."""
    sizes = st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True)
    in_sizes, out_sizes = draw(sizes), draw(sizes)
    layers, projections = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    first = draw(st.integers(1, min(in_sizes)))
    last = draw(st.integers(1, min(out_sizes)))
    low = max(math.ceil(first / layers), math.ceil(last / projections))
    high = min(layers * first, projections * last)
    if low > high:
        first = last = min(first, last)
        low = high = first
    return CrossLayerShape(
        in_sizes=tuple(in_sizes),
        layers=layers,
        projections=projections,
        out_sizes=tuple(out_sizes),
        ranks=(first, draw(st.integers(low, high)), last),
    )


def places(shape: CrossLayerShape) -> list[MatrixPlace]:
    return [
        MatrixPlace(
            layer=layer,
            projection=projection,
            rows=block_of(rows, shape.in_sizes),
            columns=block_of(columns, shape.out_sizes),
        )
        for layer in range(shape.layers)
        for projection in range(shape.projections)
        for rows in shape.in_sizes
        for columns in shape.out_sizes
    ]


@given(shapes())
def test_the_factors_multiply_to_the_entries_of_the_train(shape: CrossLayerShape) -> None:
    cores = random_cores(shape)
    whole = torch.einsum("aib,blc,cpd,doe->ilpo", *cores)
    torch.testing.assert_close(to_dense(cores, split=1).reshape(whole.shape), whole)
    for place in places(shape):
        left, right = cross_layer_factors(cores, place)
        expected = whole[place.rows, place.layer, place.projection, place.columns]
        torch.testing.assert_close(left @ right, expected)


@pytest.mark.parametrize("stacked", [(0, 1, 2, 3), (3,), (1,), (0, 2)])
def test_some_cores_may_be_those_of_several_clients(stacked: tuple[int, ...]) -> None:
    shape = shape_of()
    own = [[core * (1 + client) for core in random_cores(shape)] for client in range(2)]
    mixed = [torch.stack([own[0][i], own[1][i]]) if i in stacked else own[0][i] for i in range(4)]
    place = places(shape)[-1]
    product = torch.matmul(*cross_layer_factors(mixed, place)).expand(2, 9, 5)
    for client in range(2):
        cores = [own[client if i in stacked else 0][i] for i in range(4)]
        torch.testing.assert_close(
            product[client], torch.matmul(*cross_layer_factors(cores, place))
        )


@given(shapes())
def test_it_starts_at_zero_and_nothing_of_it_stays_without_a_gradient(
    shape: CrossLayerShape,
) -> None:
    """Against a target for every matrix, gradient steps move every entry of every core."""
    torch.manual_seed(0)
    cores = [core.requires_grad_() for core in init_cross_layer_cores(shape, zero=True)]
    targets = [(place, torch.randn(9, 9)) for place in places(shape)]
    reached = [torch.zeros(s) for s in shape.core_shapes]
    for step in range(3):
        loss = torch.zeros(())
        for place, target in targets:
            product = torch.matmul(*cross_layer_factors(cores, place))
            assert step or not product.any()
            loss = loss + (product - target[: product.shape[0], : product.shape[1]]).square().sum()
        gradients = torch.autograd.grad(loss, cores)
        assert [bool(gradient.any()) for gradient in gradients] == [step > 0] * 3 + [True]
        reached = [seen + g.abs() for seen, g in zip(reached, gradients, strict=True)]
        for core, gradient in zip(cores, gradients, strict=True):
            core.data -= 1e-2 * gradient
    # a column of the input core, say, whose neighbor was cut off, would never have one
    assert all(bool((seen > 0).all()) for seen in reached)


def test_the_start_is_orthonormal_in_the_middle_an_identity() -> None:
    first, by_layer, by_projection, last = init_cross_layer_cores(shape_of(4, 4, 4), zero=False)
    for block in (first[0, :6], first[0, 6:]):
        torch.testing.assert_close(block.T @ block, torch.eye(4))
    assert torch.equal(by_layer, torch.eye(4).unsqueeze(1).expand(4, 4, 4))
    assert torch.equal(by_projection, torch.eye(4).unsqueeze(1).expand(4, 3, 4))
    for block in (last[:, :8, 0], last[:, 8:, 0]):
        torch.testing.assert_close(block @ block.T, torch.eye(4))
    _, by_layer, by_projection, last = init_cross_layer_cores(shape_of(3, 5, 2), zero=True)
    assert not last.any()
    for index in range(4):  # 3 x 5: rows
        torch.testing.assert_close(by_layer[:, index] @ by_layer[:, index].T, torch.eye(3))
    for index in range(3):  # 5 x 2: columns
        torch.testing.assert_close(
            by_projection[:, index].T @ by_projection[:, index], torch.eye(2)
        )


def test_parameters_are_counted() -> None:
    # 45 = (6 + 9) x 3, 48 = 3 x 4 layers x 4, 24 = 4 x 3 projections x 2, 26 = 2 x (8 + 5)
    assert shape_of(3, 4, 2).num_parameters == 45 + 48 + 24 + 26
    assert shape_of(3, 4, 2).modes == (15, 4, 3, 13)


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ((7, 7, 5), "rank 7 at bond 1 does not fit(.|\n)*at most 6 there"),
        ((5, 1, 1), "rank 5 at bond 1 does not fit(.|\n)*at most 4 there"),  # 4 layers x 1
        ((2, 7, 2), "rank 7 at bond 2 does not fit(.|\n)*at most 6 there"),  # 3 projections x 2
        ((2, 2, 6), "rank 6 at bond 3 does not fit(.|\n)*at most 5 there"),
        ((3, 3), "three ranks"),
        ((3, 0, 3), "sizes of at least 1"),
    ],
)
def test_ranks_that_nothing_could_use_are_refused(ranks: tuple[int, ...], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        shape_of(*ranks)
