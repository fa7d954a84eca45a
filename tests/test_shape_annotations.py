"""Public tensor functions say their shapes, tests check them, and the check can fail."""

import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError, install_import_hook
from torch import Tensor

import fedtt.tt
from fedtt.peft import TTLinear
from fedtt.peft.singular import singular_factors
from fedtt.peft.tt_linear import add_bias
from fedtt.tt import contraction, tt_linear, tt_round

PUBLIC = [getattr(fedtt.tt, name) for name in fedtt.tt.__all__]
FUNCTIONS = [
    *filter(inspect.isfunction, PUBLIC),
    add_bias,
    singular_factors,
    TTLinear.forward,
    TTLinear.cores.fget,
]


def tensors_without_a_shape(function: Callable[..., Any]) -> list[str]:
    """Parameters, and ``return``, whose annotation says ``Tensor`` and no shape."""

    def is_bare(hint: Any) -> bool:
        return hint is Tensor or any(map(is_bare, typing.get_args(hint)))

    return [name for name, hint in typing.get_type_hints(function).items() if is_bare(hint)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_public_tensor_functions_say_their_shapes(function: Callable[..., Any]) -> None:
    assert tensors_without_a_shape(function) == []


def test_a_tensor_without_a_shape_is_found() -> None:
    def f(x: list[Tensor], n: int) -> tuple[int, Tensor]: ...

    assert tensors_without_a_shape(f) == ["x", "return"]


@pytest.mark.parametrize(
    "call",
    [
        lambda cores: tt_linear(torch.ones(2, 4), cores, split=1),
        lambda cores: tt_round(cores, ranks=(1, 3, 1)),
        lambda cores: add_bias(torch.ones(2, 4), cores[0]),
    ],
    ids=["tt_linear", "tt_round", "add_bias"],
)
def test_annotations_are_checked_in_tests(call: Callable[..., Any]) -> None:
    cores = [torch.ones(1, 4, 3, dtype=torch.long), torch.ones(3, 5, 1, dtype=torch.long)]
    with pytest.raises(TypeCheckError, match=r"checking the parameters of fedtt\."):
        call(cores)


@pytest.mark.parametrize(
    ("right", "wrong", "call"),
    [
        ('"*clients M r"', '"*clients r M"', "contract_sides(cores, 1)"),  # transposed
        ('"*rows N"', '"*rows M"', "tt_linear(x, cores, split=1)"),  # the input's features
        ('"*clients M N"', '"M N"', "to_dense(cores, split=1)"),  # the clients forgotten
    ],
)
def test_a_wrong_annotation_is_caught(
    right: str, wrong: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(contraction.__file__).read_text(encoding="utf-8")
    assert source.count(right) == 1
    name = f"mistaken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(source.replace(right, wrong), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with install_import_hook(name, "beartype.beartype"):
        mistaken = importlib.import_module(name)
    # Two clients, 4 -> 5 features, rank 3.
    values = {"x": torch.ones(2, 4), "cores": [torch.ones(2, 1, 4, 3), torch.ones(2, 3, 5, 1)]}
    eval(call, vars(contraction) | values)  # the annotations as they are hold
    with pytest.raises(TypeCheckError, match=f"checking the return value of {name}"):
        eval(call, vars(mistaken) | values)
