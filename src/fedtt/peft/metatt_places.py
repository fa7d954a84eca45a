"""Which matrices of a model make one train, by the names of their layers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from torch import nn

from fedtt.errors import ModelError
from fedtt.peft.layer_widths import input_width, output_width
from fedtt.tt import CrossLayerShape, MatrixPlace, block_of

_Value = TypeVar("_Value", str, int)


def layer_and_projection(name: str) -> tuple[str, str]:
    """``encoder.layer.3.attention.self.query -> (encoder.layer.3, attention.self.query)``.

    The layer ends with the last number in the name; without one there is one layer for all.
    """
    parts = name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdecimal()]
    end = numbers[-1] + 1 if numbers else 0
    return ".".join(parts[:end]), ".".join(parts[end:])


def widths_of(module: nn.Module, *, name: str) -> tuple[int, int]:
    """Input and output width of a linear layer; raises :class:`ModelError` for anything else."""
    rows, columns = input_width(module), output_width(module)
    if rows is None or columns is None:
        raise ModelError(
            "a cross-layer train adapts linear layers only",
            where=name,
            got=type(module).__name__,
            expected="a linear layer of any kind, quantized ones included",
            fix="name other target_modules",
        )
    return rows, columns


def train_over(
    widths: Mapping[str, tuple[int, int]], *, ranks: Sequence[int], complete: bool
) -> tuple[CrossLayerShape, dict[str, MatrixPlace]]:
    """The train of these layers, name -> input and output width, and the place of each in it.

    Layers and projections are counted in the order of the names; a model has the same one always.

    Raises:
        ModelError: with ``complete``, entries of the train that no matrix takes.
        ShapeError: ranks that do not fit.
    """
    named = {name: layer_and_projection(name) for name in widths}
    layers = _distinct(layer for layer, _ in named.values())
    projections = _distinct(projection for _, projection in named.values())
    in_sizes = tuple(_distinct(rows for rows, _ in widths.values()))
    out_sizes = tuple(_distinct(columns for _, columns in widths.values()))
    whole = len(in_sizes) == len(out_sizes) == 1 and len(widths) == len(layers) * len(projections)
    if complete and not whole:
        raise ModelError(
            "some entries of the train belong to no matrix, and rounding would weigh them too",
            where="target_modules",
            got=f"{len(widths)} matrices of {len(layers)} layers x {len(projections)} projections, "
            f"inputs {', '.join(map(str, in_sizes))}, outputs {', '.join(map(str, out_sizes))}",
            expected="matrices of one size, and every projection in every layer",
            fix="name such target_modules, or average the cores: method metatt",
        )
    first, middle, last = ranks
    shape = CrossLayerShape(
        in_sizes=in_sizes,
        layers=len(layers),
        projections=len(projections),
        out_sizes=out_sizes,
        ranks=(first, middle, last),
    )
    places = {
        name: MatrixPlace(
            layer=layers[layer],
            projection=projections[projection],
            rows=block_of(widths[name][0], in_sizes),
            columns=block_of(widths[name][1], out_sizes),
        )
        for name, (layer, projection) in named.items()
    }
    return shape, places


def _distinct(values: Iterable[_Value]) -> dict[_Value, int]:
    """Every value with its number, in the order of first mention."""
    return {value: number for number, value in enumerate(dict.fromkeys(values))}
