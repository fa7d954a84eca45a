"""One data structure for everything that travels: named tensors, and its few verbs.

A :data:`Params` is a state, a broadcast, a client's delta, a mean or a checkpoint. No verb changes
its arguments; only :func:`write_params` changes something, the model it is given.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedtt.errors import ShapeError

Params = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What is known of a tensor before it exists: its shape and its type."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return torch.Size(self.shape).numel()


Structure = Mapping[str, TensorSpec]


def structure_of(params: Params) -> dict[str, TensorSpec]:
    """Names, shapes and types of ``params``, sorted by name."""
    return {
        name: TensorSpec(shape=tuple(params[name].shape), dtype=params[name].dtype)
        for name in sorted(params)
    }


def zeros(structure: Structure) -> dict[str, Tensor]:
    """Params of that structure, all zero, on the CPU."""
    return {name: torch.zeros(spec.shape, dtype=spec.dtype) for name, spec in structure.items()}


def select(params: Params, names: Iterable[str]) -> dict[str, Tensor]:
    """The named part of ``params``, sorted by name. Raises ``KeyError`` for a name not in it."""
    return {name: params[name] for name in sorted(names)}


def merge(params: Params, part: Params) -> dict[str, Tensor]:
    """``params`` with the entries of ``part`` in place of its own."""
    unknown = sorted(set(part) - set(params))
    if unknown:
        raise ShapeError("parameters that the state does not have", got=", ".join(unknown[:5]))
    return {**params, **part}


def add(first: Params, second: Params) -> dict[str, Tensor]:
    """``first + second``, name by name. Raises :class:`ShapeError` where they do not match."""
    check_same_structure(second, structure_of(first))
    return {name: tensor + second[name] for name, tensor in first.items()}


def subtract(first: Params, second: Params) -> dict[str, Tensor]:
    """``first - second``, name by name. Raises :class:`ShapeError` where they do not match."""
    check_same_structure(second, structure_of(first))
    return {name: tensor - second[name] for name, tensor in first.items()}


def scale(params: Params, factor: float) -> dict[str, Tensor]:
    """``factor * params``."""
    return {name: tensor * factor for name, tensor in params.items()}


def narrow(params: Params, structure: Structure) -> dict[str, Tensor]:
    """The leading part of every tensor that ``structure`` names, in its sizes there."""
    return {
        name: params[name][tuple(slice(size) for size in spec.shape)]
        for name, spec in structure.items()
    }


def widen(params: Params, structure: Structure) -> dict[str, Tensor]:
    """Every tensor of ``params`` padded at its ends with zeros to its sizes in ``structure``."""
    empty = {
        name: tensor.new_zeros(structure[name].shape)
        for name, tensor in params.items()
        if tuple(tensor.shape) != structure[name].shape
    }
    return {**params, **overlay(empty, {name: params[name] for name in empty})}


def overlay(params: Params, part: Params) -> dict[str, Tensor]:
    """The tensors of ``params`` that ``part`` names, their leading part replaced by ``part``'s."""
    result = {}
    for name, tensor in part.items():
        whole = params[name].clone()
        whole[tuple(slice(size) for size in tensor.shape)] = tensor
        result[name] = whole
    return result


def non_finite_names(params: Params) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity, sorted."""
    return [name for name in sorted(params) if not bool(torch.isfinite(params[name]).all())]


def check_same_structure(params: Params, expected: Structure) -> None:
    """Raise :class:`ShapeError` unless names, shapes and types are exactly as ``expected``."""
    missing, extra = sorted(set(expected) - set(params)), sorted(set(params) - set(expected))
    if missing or extra:
        raise ShapeError(
            "the parameters have other names than expected",
            got=f"{len(extra)} unexpected {extra[:3]}",
            expected=f"{len(expected)} names, of which {len(missing)} are missing {missing[:3]}",
        )
    for name, spec in expected.items():
        got = TensorSpec(shape=tuple(params[name].shape), dtype=params[name].dtype)
        if got != spec:
            raise ShapeError(
                "a parameter has another shape or type than expected",
                where=name,
                got=f"{list(got.shape)} {got.dtype}",
                expected=f"{list(spec.shape)} {spec.dtype}",
            )


def read_params(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Copies (on the CPU) of the model's parameters of these names, sorted by name."""
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().to("cpu", copy=True) for name in sorted(names)}


def write_params(model: nn.Module, params: Params) -> None:
    """Set the model's parameters of these names to these values. Changes ``model`` in place."""
    parameters = dict(model.named_parameters())
    named = {name: parameters[name] for name in params}
    check_same_structure(params, structure_of(named))
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(params[name])
