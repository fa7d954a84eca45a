import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedtt import params as p
from fedtt.errors import ShapeError


def some(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "b": torch.randn(2, 3, generator=generator),
        "a": torch.randn(4, generator=generator, dtype=torch.float64),
    }


@given(st.integers(0, 99), st.integers(0, 99))
def test_subtract_undoes_add(first: int, second: int) -> None:
    a, b = some(first), some(second)
    back = p.subtract(p.add(a, b), b)
    assert all(torch.allclose(back[name], a[name], atol=1e-5) for name in a)


def test_verbs_do_not_change_their_arguments() -> None:
    a, b = some(0), some(1)
    p.add(a, b), p.subtract(a, b), p.scale(a, 3.0), p.merge(a, {"a": b["a"]}), p.select(a, ["a"])
    assert all(torch.equal(a[n], some(0)[n]) and torch.equal(b[n], some(1)[n]) for n in a)


def test_structure_counts_and_zeros() -> None:
    structure = p.structure_of(some(0))
    assert list(structure) == ["a", "b"]
    assert structure["b"] == p.TensorSpec(shape=(2, 3), dtype=torch.float32)
    assert p.structure_of(p.zeros(structure)) == structure


def test_merge_refuses_names_that_the_state_does_not_have() -> None:
    with pytest.raises(ShapeError, match=r"does not have\n  got: c"):
        p.merge(some(0), {"c": torch.zeros(1)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"a": torch.zeros(4, dtype=torch.float64)}, r"1 are missing \['b'\]"),
        ({**some(0), "c": torch.zeros(1)}, r"1 unexpected \['c'\]"),
        ({**some(0), "b": torch.zeros(3, 2)}, r"where: b\n  got: \[3, 2\].*\n  expected: \[2, 3\]"),
        ({**some(0), "b": torch.zeros(2, 3).double()}, r"float64\n  expected: .*float32"),
    ],
)
def test_another_structure_is_refused_with_the_difference(wrong: dict, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        p.add(some(0), wrong)


def test_non_finite_names_are_found() -> None:
    params = {
        "a": torch.tensor([1.0, float("nan")]),
        "b": torch.ones(1),
        "c": torch.tensor(-torch.inf),
    }
    assert p.non_finite_names(params) == ["a", "c"]


def test_read_gives_copies_and_write_sets_exactly_the_named() -> None:
    model = nn.Linear(3, 2)
    before = p.read_params(model, ["weight", "bias"])
    p.write_params(model, {"weight": torch.full((2, 3), 5.0)})
    assert torch.equal(model.weight, torch.full((2, 3), 5.0))
    assert torch.equal(model.bias, before["bias"])
    assert not torch.equal(before["weight"], model.weight)
    with pytest.raises(ShapeError, match="where: weight"):
        p.write_params(model, {"weight": torch.zeros(3, 2)})


def test_narrow_widen_and_overlay_act_on_the_leading_part() -> None:
    whole = {"w": torch.arange(6.0).reshape(2, 3), "same": torch.ones(2)}
    structure = p.structure_of(whole)
    small = {"w": p.TensorSpec(shape=(1, 2), dtype=torch.float32), "same": structure["same"]}
    part = p.narrow(whole, small)
    assert part["w"].tolist() == [[0.0, 1.0]]
    assert p.widen(part, structure)["w"].tolist() == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert p.widen(part, structure)["same"] is part["same"]
    laid = p.overlay(whole, {"w": torch.full((1, 2), 9.0)})
    assert laid["w"].tolist() == [[9.0, 9.0, 2.0], [3.0, 4.0, 5.0]]
    assert laid.keys() == {"w"}
    assert whole["w"][0, 0] == 0
