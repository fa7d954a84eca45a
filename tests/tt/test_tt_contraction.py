"""Products by a train equal products by its dense matrix, with exact gradients."""

import math
from typing import Any

import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.tt_matrix import tt_matrix_to_matrix
from tests.tt.strategies import dense_oracle, random_cores, seeds, tt_shapes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fedtt.errors import ShapeError
from fedtt.tt import (
    TTShape,
    contract_all_sides,
    contract_sides,
    init_cores,
    to_dense,
    tt_linear,
    tt_shape,
    tt_sides,
)

ASYMMETRIC = TTShape(in_modes=(2, 5, 3), out_modes=(4, 2), ranks=(1, 2, 4, 3, 2, 1))


def random_input(*size: int, seed: int = 9) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_dense_equals_the_chained_product(shape: TTShape, seed: int) -> None:
    cores = random_cores(shape, seed)
    torch.testing.assert_close(to_dense(cores, split=shape.split), dense_oracle(cores, shape.split))


@settings(deadline=None)
@given(tt_shapes(), seeds)
def test_dense_equals_tensorly(shape: TTShape, seed: int) -> None:
    cores = random_cores(shape, seed)
    whole = tensorly.tt_to_tensor([core.numpy() for core in cores])
    dense = to_dense(cores, split=shape.split)
    torch.testing.assert_close(dense.reshape(shape.modes), torch.from_numpy(whole))
    # As a TT matrix: input cores have one column index, output cores one row index.
    as_matrix = [core[:, :, None] for core in cores[: shape.split]]
    as_matrix += [core[:, None] for core in cores[shape.split :]]
    matrix = tt_matrix_to_matrix([core.numpy() for core in as_matrix])
    torch.testing.assert_close(dense, torch.from_numpy(matrix))


@settings(deadline=None)
@given(tt_shapes(), seeds, st.lists(st.integers(0, 3), max_size=3))
def test_product_equals_dense_product(shape: TTShape, seed: int, batch: list[int]) -> None:
    cores = random_cores(shape, seed)
    x = random_input(*batch, shape.in_features)
    y = tt_linear(x, cores, split=shape.split)
    assert y.shape == (*batch, shape.out_features)
    torch.testing.assert_close(y, x @ dense_oracle(cores, shape.split))


@settings(deadline=None)
@given(tt_shapes(), seeds, st.integers(1, 4), st.integers(0, 3), st.lists(st.integers(1, 3)))
def test_clients_in_one_product_equal_clients_one_by_one(
    shape: TTShape, seed: int, clients: int, batch: int, inner: list[int]
) -> None:
    cores = random_cores(shape, seed, clients=clients)
    x = random_input(clients * batch, *inner[:2], shape.in_features)
    y = tt_linear(x, cores, split=shape.split)
    assert y.shape == (*x.shape[:-1], shape.out_features)
    for client in range(clients):
        rows = slice(client * batch, (client + 1) * batch)
        own = dense_oracle([core[client] for core in cores], shape.split)
        torch.testing.assert_close(y[rows], x[rows] @ own)
        torch.testing.assert_close(to_dense(cores, split=shape.split)[client], own)


@settings(deadline=None)
@given(tt_shapes(), seeds, st.integers(1, 3), st.sampled_from([None, 1, 3]))
def test_sides_of_many_trains_equal_those_of_each(
    shape: TTShape, seed: int, many: int, clients: int | None
) -> None:
    trains = [random_cores(shape, seed + index, clients=clients) for index in range(many)]
    together = contract_all_sides(trains, split=shape.split, dtype=torch.float64)
    x = random_input(clients or 1, shape.in_features)
    assert len(together) == many
    for sides, cores in zip(together, trains, strict=True):
        for side, own in zip(sides, tt_sides(x, cores, split=shape.split), strict=True):
            torch.testing.assert_close(side, own)


def test_trains_of_different_shapes_are_not_contracted_together() -> None:
    other = TTShape(in_modes=(2, 5, 3), out_modes=(4, 2), ranks=(1, 2, 4, 3, 1, 1))
    trains = [random_cores(ASYMMETRIC, 0), random_cores(other, 0)]
    for wrong in (trains, []):
        with pytest.raises(ShapeError, match="one shape"):
            contract_all_sides(wrong, split=3, dtype=torch.float64)


@pytest.mark.parametrize("clients", [None, 1, 3])
def test_sides_have_the_promised_shapes(clients: int | None) -> None:
    cores = random_cores(ASYMMETRIC, 0, clients=clients)
    left, right = contract_sides(cores, 3)
    lead = () if clients is None else (clients,)
    assert left.shape == (*lead, 30, 3)
    assert right.shape == (*lead, 3, 8)


def test_input_may_be_strided() -> None:
    cores = random_cores(ASYMMETRIC, 0)
    x = random_input(30, 4, 6).permute(2, 1, 0)
    y = tt_linear(x, cores, split=3)
    torch.testing.assert_close(y, x.contiguous() @ dense_oracle(cores, 3))


@pytest.mark.parametrize("clients", [None, 1, 3])
def test_gradients_are_exact(clients: int | None) -> None:
    cores = random_cores(ASYMMETRIC, 0, clients=clients)
    x = random_input(3, 2, 30)
    inputs = [tensor.requires_grad_() for tensor in (x, *cores)]
    product = lambda x, *cores: tt_linear(x, cores, split=3)  # noqa: E731
    assert torch.autograd.gradcheck(product, inputs)
    assert torch.autograd.gradgradcheck(product, inputs)
    assert torch.autograd.gradcheck(lambda *cores: to_dense(cores, split=3), inputs[1:])


@settings(deadline=None, max_examples=25)
@given(tt_shapes(), seeds)
def test_gradients_equal_those_through_the_dense_matrix(shape: TTShape, seed: int) -> None:
    cores = [core.requires_grad_() for core in random_cores(shape, seed)]
    x = random_input(4, shape.in_features).requires_grad_()
    weight = random_input(4, shape.out_features, seed=10)
    fast = (tt_linear(x, cores, split=shape.split) * weight).sum()
    slow = ((x @ dense_oracle(cores, shape.split)) * weight).sum()
    for got, expected in zip(
        torch.autograd.grad(fast, [x, *cores]),
        torch.autograd.grad(slow, [x, *cores]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("clients", [None, 1, 3])
def test_the_gradient_of_the_input_is_contiguous(clients: int | None) -> None:
    # A transposed one would slow down every operation behind it.
    x = random_input(3, 2, 30).requires_grad_()
    loss = tt_linear(x, random_cores(ASYMMETRIC, 0, clients=clients), split=3).square().sum()
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.is_contiguous()


def test_gradients_survive_vmap() -> None:
    cores = random_cores(ASYMMETRIC, 0)
    x = random_input(5, 30)
    loss = lambda core, row: tt_linear(row, [core, *cores[1:]], split=3).square().sum()  # noqa: E731
    per_row = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(cores[0], x)
    one_by_one = torch.stack([torch.func.grad(loss)(cores[0], row) for row in x])
    torch.testing.assert_close(per_row, one_by_one)


@pytest.mark.parametrize("clients", [None, 1, 2])
@pytest.mark.parametrize("core_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_follows_the_input(clients: int | None, core_dtype: torch.dtype) -> None:
    shape = tt_shape(768, 64, rank=5)
    cores = [
        core.to(core_dtype).requires_grad_() for core in random_cores(shape, 0, clients=clients)
    ]
    x = random_input(8, 768).bfloat16().requires_grad_()
    y = tt_linear(x, cores, split=3)
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert all(core.grad is not None and core.grad.dtype == core_dtype for core in cores)
    dense = to_dense([core.detach().double() for core in cores], split=3)
    exact = torch.matmul(x.detach().double().reshape(clients or 1, -1, 768), dense).reshape(8, 64)
    # Few roundings at 2^-9 each: two factors, two results, and the cores' own products.
    assert (y.double() - exact).norm() < 0.02 * exact.norm()


def test_cores_are_contracted_in_their_own_dtype() -> None:
    shape = tt_shape(768, 64, rank=5)
    cores = random_cores(shape, 0, dtype=torch.float32)
    left, right = contract_sides(cores, 3)
    x = random_input(8, 768).bfloat16()
    expected = (left.T.bfloat16() @ x.T).T @ right.bfloat16()
    torch.testing.assert_close(tt_linear(x, cores, split=3), expected, rtol=0, atol=0)


def test_autocast_leaves_the_contraction_of_the_cores_alone() -> None:
    shape = tt_shape(768, 64, rank=5)
    cores = random_cores(shape, 0, dtype=torch.float32)
    x = random_input(8, 768).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sides = contract_sides(cores, 3)
        y = tt_linear(x, cores, split=3)
    assert all(torch.equal(a, b) for a, b in zip(sides, contract_sides(cores, 3), strict=True))
    assert y.dtype == torch.bfloat16


def test_shapes_are_known_on_the_meta_device() -> None:
    cores = init_cores(tt_shape(8192, 64, rank=5), std=0.02, generator=None, device="meta")
    y = tt_linear(torch.empty(2, 3, 8192, device="meta"), cores, split=4)
    assert y.device.type == "meta"
    assert y.shape == (2, 3, 64)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of entries of the largest tensor any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.entries = max(self.entries, tensor.numel())
        return result


@pytest.mark.parametrize("clients", [None, 2])
def test_the_matrix_is_never_formed(clients: int | None) -> None:
    shape = tt_shape(768, 768, rank=5)
    cores = [core.requires_grad_() for core in random_cores(shape, 0, clients=clients)]
    x = random_input(4, 768).requires_grad_()
    with LargestTensor() as largest:
        tt_linear(x, cores, split=3).sum().backward()
    # L is 768 x 5, before the last core 64 x (8 * 5): far from 768 * 768.
    assert largest.entries == 768 * 5 * (clients or 1)


def test_initialized_cores_give_the_variance_of_a_linear_layer() -> None:
    shape = tt_shape(768, 64, rank=5)
    generator = torch.Generator().manual_seed(0)
    trains = [init_cores(shape, std=0.05, generator=generator) for _ in range(200)]
    stacked = [torch.stack(cores) for cores in zip(*trains, strict=True)]
    x = torch.randn(200 * 4, 768, generator=generator)
    y = tt_linear(x, stacked, split=3)
    # Var y = 768 * 0.05^2 = 1.92; 200 draws of a heavy-tailed mean: within a third.
    assert y.var().item() == pytest.approx(768 * 0.05**2, rel=1 / 3)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("size", "clients", "message"),
    [
        (
            (4, 31),
            None,
            r"does not match the input modes\n  where: tt_linear\n  got: \(4, 31\)\n"
            r"  expected: \(\.\.\., 30\), for in_modes 2 x 5 x 3 = 30",
        ),
        ((), None, r"does not match the input modes\n  where: tt_linear\n  got: \(\)"),
        (
            (4, 30),
            3,
            r"rows of 3 clients must be equally many\n  where: tt_linear\n  got: \(4, 30\)\n"
            r"  expected: a first dimension that 3 divides",
        ),
        ((30,), 1, r"rows of 1 clients must be equally many"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    size: tuple[int, ...], clients: int | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        tt_linear(random_input(*size), random_cores(ASYMMETRIC, 0, clients=clients), split=3)


@pytest.mark.parametrize("split", [0, 5, -1])
def test_a_split_with_an_empty_side_is_refused(split: int) -> None:
    cores = random_cores(ASYMMETRIC, 0)
    message = (
        rf"must leave input cores and output cores\n.*\n  got: split {split} of 5 cores\n.*1 to 4"
    )
    for call in (
        lambda: tt_linear(random_input(2, 30), cores, split=split),
        lambda: contract_sides(cores, split),
        lambda: to_dense(cores, split=split),
    ):
        with pytest.raises(ShapeError, match=message):
            call()


def test_cores_that_form_no_train_are_refused() -> None:
    cores = random_cores(ASYMMETRIC, 0)[::-1]
    with pytest.raises(ShapeError, match="do not form a tensor train\n  where: tt_linear"):
        tt_linear(random_input(2, math.prod((2, 5, 3))), cores, split=3)
