import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from fedtt.errors import ShapeError
from fedtt.peft import TTLinear
from fedtt.peft.tt_linear import add_bias
from fedtt.tt import TTShape, to_dense, tt_shape

modes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


@st.composite
def shapes(draw):
    in_modes, out_modes = draw(modes), draw(modes)
    inner = len(in_modes) + len(out_modes) - 1
    ranks = draw(st.lists(st.integers(1, 4), min_size=inner, max_size=inner))
    return TTShape(in_modes=in_modes, out_modes=out_modes, ranks=(1, *ranks, 1))


def layer(shape, **kwargs):
    made = TTLinear(shape, std=0.7, **kwargs)
    if made.bias is not None:
        torch.nn.init.normal_(made.bias)
    return made


@settings(max_examples=60, deadline=None)
@given(shape=shapes(), rows=st.integers(1, 4), bias=st.booleans(), seed=st.integers(0, 99))
def test_it_is_a_dense_linear_layer(shape, rows, bias, seed):
    torch.manual_seed(seed)
    tt = layer(shape, bias=bias).double()
    x = torch.randn(rows, 3, shape.in_features, dtype=torch.float64)
    dense = to_dense(tt.cores, split=shape.split)
    expected = x @ dense + (tt.bias if bias else 0)
    torch.testing.assert_close(tt(x), expected)


@settings(max_examples=40, deadline=None)
@given(shape=shapes(), clients=st.integers(1, 3), rows=st.integers(1, 3), bias=st.booleans())
def test_stacked_clients_are_the_clients_one_by_one(shape, clients, rows, bias):
    torch.manual_seed(0)
    tt = layer(shape, bias=bias).double()
    own = [{n: torch.randn_like(p) for n, p in tt.named_parameters()} for _ in range(clients)]
    stacked = {name: torch.stack([params[name] for params in own]) for name in own[0]}
    x = torch.randn(clients * rows, 2, shape.in_features, dtype=torch.float64)
    together = functional_call(tt, stacked, (x,))
    apart = [functional_call(tt, p, (part,)) for p, part in zip(own, x.split(rows), strict=True)]
    torch.testing.assert_close(together, torch.cat(apart))


def test_the_cores_are_direct_parameters_in_order():
    tt = layer(tt_shape(12, 10, rank=3, in_modes=(4, 3), out_modes=(2, 5)), bias=True)
    direct = {name: tuple(p.shape) for name, p in tt.named_parameters(recurse=False)}
    assert direct == {
        "core_0": (1, 4, 3),
        "core_1": (3, 3, 3),
        "core_2": (3, 2, 3),
        "core_3": (3, 5, 1),
        "bias": (10,),
    }
    assert all(core is getattr(tt, f"core_{i}") for i, core in enumerate(tt.cores))
    assert list(tt.children()) == []
    assert "in_modes=(4, 3), out_modes=(2, 5), ranks=(1, 3, 3, 3, 1), bias=True" in repr(tt)


def test_without_a_bias_there_is_no_bias_parameter():
    tt = layer(tt_shape(12, 10, rank=3))
    assert tt.bias is None
    assert "bias" not in tt.state_dict()


def test_a_zeroed_last_core_gives_the_zero_matrix_and_a_gradient_to_that_core_only():
    torch.manual_seed(0)
    tt = TTLinear(tt_shape(12, 10, rank=3), std=1.0, zero_last_core=True)
    assert torch.count_nonzero(to_dense(tt.cores, split=tt.shape.split)) == 0
    assert all(torch.count_nonzero(core) for core in tt.cores[:-1])
    tt(torch.randn(5, 12)).square().sum().backward()
    assert all(core.grad is None or not core.grad.any() for core in tt.cores)
    (tt(torch.randn(5, 12)) - 1).square().sum().backward()
    moved = [bool(core.grad.any()) for core in tt.cores]
    assert moved == [False] * (len(moved) - 1) + [True]


def test_the_matrix_has_the_promised_standard_deviation():
    torch.manual_seed(0)
    shape = tt_shape(24, 16, rank=3)
    # Entries of one matrix depend on each other: the mean square of a whole matrix is one sample.
    squares = torch.stack(
        [
            to_dense(TTLinear(shape, std=0.3).cores, split=shape.split).square().mean()
            for _ in range(2000)
        ]
    )
    error = squares.std() / math.sqrt(len(squares))
    assert error < 0.01
    assert abs(squares.mean() - 0.3**2) < 4 * error


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_cores_serve_low_precision_inputs(dtype):
    torch.manual_seed(0)
    tt = layer(tt_shape(16, 8, rank=3), bias=True)
    x = torch.randn(6, 16)
    low = tt(x.to(dtype))
    assert low.dtype == dtype
    torch.testing.assert_close(low.float(), tt(x), atol=0.1, rtol=0.05)
    low.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in tt.parameters())


def test_biases_of_clients_that_do_not_divide_the_rows_are_refused():
    with pytest.raises(ShapeError, match="the rows of 2 clients must be equally many") as caught:
        add_bias(torch.zeros(5, 3), torch.zeros(2, 3))
    assert "(5, 3)" in str(caught.value)
    assert "stack one batch of the same size a client" in str(caught.value)


def test_it_can_be_made_on_the_meta_device():
    with torch.device("meta"):
        tt = TTLinear(tt_shape(768, 64, rank=5), std=0.1, bias=True)
    assert all(p.is_meta for p in tt.parameters())
    # 780 = 40 + 200 + 300 + 200 + 40, and 64 biases
    assert sum(p.numel() for p in tt.parameters()) == 780 + 64
