"""One plain transformers model, the adapter added into its weights: only where that is exact."""

from pathlib import Path

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

from fedtt.errors import FedttError, RunError
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.exports.same_outputs import check_same, outputs_of
from fedtt.experiment.opened_run import OpenedRun

KEEP = "fedtt export RUN DIR --format peft, which keeps the adapter beside its base model"
LOADING = """
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
model = {auto}.from_pretrained("DIRECTORY")
"""


def merge(opened: OpenedRun) -> nn.Module:
    """The model without PEFT, in float32, which computes what the tuned one computes.

    Changes the opened model. Raises :class:`RunError` with the reason where there is no such model.
    """
    config, model = opened.config, opened.model
    where = f"method.name = {config.method.name!r}"
    if config.model.quantization is not None:
        raise _refusal(
            "the base weights are codes, and nothing can be added to them exactly",
            where=f"model.quantization = {config.model.quantization!r}",
        )
    if model.active_peft_config.is_prompt_learning:
        raise _refusal(
            "what was trained stands before the text or in the cache, and no weight holds it",
            where=where,
        )
    # Before the sum: a type of fewer bits would round it.
    model.float().eval()
    before = outputs_of(model, opened.tokenizer)
    try:
        merged: nn.Module = model.merge_and_unload(safe_merge=True)
    except FedttError as error:
        raise _refusal(error.summary, where=where) from error
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise _refusal(str(error) or "PEFT does not merge it", where=where) from error
    left = [m for m in merged.modules() if isinstance(m, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    if left:
        raise _refusal(f"{type(left[0]).__name__} layers would stay in the model", where=where)
    check_same(before, outputs_of(merged, opened.tokenizer), what="the merged model")
    return merged.eval()


def _refusal(reason: str, *, where: str) -> RunError:
    return RunError(
        f"the adapter cannot be merged exactly: {reason}",
        where=where,
        expected="an adapter that adds a matrix to a weight, such as LoRA",
        fix=KEEP,
    )


def _write(opened: OpenedRun, _directory: RunDirectory, out: Path) -> list[str]:
    merged = merge(opened)
    merged.save_pretrained(out)  # type: ignore[operator]
    loaded = type(merged).from_pretrained(out).eval()  # type: ignore[attr-defined]
    place = next(merged.parameters()).device
    checked = check_same(
        outputs_of(merged, opened.tokenizer),
        outputs_of(loaded.to(place), opened.tokenizer),
        what="the model as loaded from its files",
    )
    return [f"transformers loads it, and it computes what the tuned model does: {checked}"]


MERGED = ExportFormat(library="transformers", loading=LOADING, write=_write)
