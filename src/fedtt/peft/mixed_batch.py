"""One batch whose rows go through different adapters: PEFT's ``adapter_names``, as for its LoRA.

``model(**inputs, adapter_names=["a", "b", "__base__"])`` and ``generate`` alike: one name a row.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from fedtt.errors import ModelError
from fedtt.peft.modules_of_type import modules_of_type

BASE = "__base__"  # PEFT's name for no adapter


@contextmanager
def rows_by_name(
    model: nn.Module,
    layer_type: type[nn.Module],
    *,
    known: Sequence[str],
    adapter_names: Sequence[str] | None,
    num_beams: int | None = None,
) -> Iterator[None]:
    """Inside, every layer of that type, and every head, is told which adapter a row is for.

    Beam search repeats every row ``num_beams`` times. Raises :class:`ModelError` (a ``ValueError``,
    as PEFT's) in training, and for a name that no adapter has.
    """
    if adapter_names is None:
        yield
        return
    where = "adapter_names"
    if model.training:
        raise ModelError(
            "rows cannot be given adapters of their own in training",
            where=where,
            fix="call model.eval(), or train one adapter at a time (set_adapter)",
        )
    unknown = sorted({*adapter_names} - {*known, BASE})
    if unknown:
        raise ModelError(
            "no adapter has that name",
            where=where,
            got=", ".join(unknown),
            expected=f"one of {', '.join(known)}, or {BASE} for the base model",
        )
    names = [name for name in adapter_names for _ in range(max(1, num_beams or 1))]
    with ExitStack() as inside:
        for _, module in modules_of_type(model, layer_type, AuxiliaryTrainingWrapper):
            hook = partial(_with_names, names=names)
            inside.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True))
        yield


def _with_names(
    module: nn.Module,  # noqa: ARG001 (torch's signature)
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    names: list[str],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**kwargs, "adapter_names": names}


def rows_of_adapters(adapter_names: Sequence[str], batch: Tensor) -> dict[str, list[int]]:
    """The rows of every adapter, the base model's left out, in the order of first mention.

    Raises :class:`ModelError` unless there is one name for each row of ``batch (rows, ...)``.
    """
    if len(batch) != len(adapter_names):
        raise ModelError(
            "adapter_names needs one name for each row of the batch",
            where="adapter_names",
            got=f"{len(adapter_names)} names for {len(batch)} rows",
        )
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(adapter_names):
        if name != BASE:
            rows.setdefault(name, []).append(row)
    return rows
