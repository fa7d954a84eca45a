"""The rows of a head that was trained already, in the order of the data's classes."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from fedtt.errors import ModelError


def place_rows_by_name(
    model: PreTrainedModel, own: Mapping[int, str], label_names: Sequence[str], *, name: str
) -> tuple[str, ...]:
    """Put the rows of the final projection into the order of ``label_names``; notes on it.

    Changes ``model``. ``own`` are the class names that the checkpoint came with, by row. Names are
    compared without regard to case. Where they are other names, the rows stay and a note says so;
    where they are none (``LABEL_0`` and so on), the rows stay: nothing speaks of another order.
    Raises :class:`ModelError` for rows that cannot be moved.
    """
    rows = [own[index] for index in sorted(own)]
    unnamed = rows == [f"LABEL_{index}" for index in range(len(rows))]
    if unnamed or len(rows) != len(label_names) or len(rows) < 2:
        return ()
    position = {row.strip().casefold(): index for index, row in enumerate(rows)}
    wanted = [label.strip().casefold() for label in label_names]
    found = f"{', '.join(rows)} and the data's {', '.join(label_names)}"
    if sorted(wanted) != sorted(position):
        return (
            f"The base model is a classifier already. Its classes are {found}: the names do not "
            "match, so its head is taken row for row.",
        )
    order = [position[label] for label in wanted]
    if order == sorted(order):
        return ()
    final = _final_projection(model, outputs=len(rows))
    if final is None or not final.weight.is_floating_point() or final.weight.is_meta:
        raise ModelError(
            "the rows of the base model's head cannot be put into the order of the data's classes",
            where=f"model.name = {name!r}",
            got=f"classes {found}",
            fix=f"order the classes as the model does: data.label_names = {rows}",
        )
    with torch.no_grad():
        final.weight.copy_(final.weight[order].clone())
        if final.bias is not None:
            final.bias.copy_(final.bias[order].clone())
    return (f"The base model's classes are {found}: its head's rows are placed by name.",)


def _final_projection(model: PreTrainedModel, *, outputs: int) -> nn.Linear | None:
    """The last linear layer outside the encoder that has one output for each class."""
    inside = f"{model.base_model_prefix}."
    layers = [
        module
        for path, module in model.named_modules()
        if type(module) is nn.Linear
        and module.out_features == outputs
        and not path.startswith(inside)
    ]
    return layers[-1] if layers else None
