"""A run's model for somebody else: a new directory with the weights and a model card."""

import shutil
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from fedtt.atomic_write import name_beside, open_to_all
from fedtt.checksums import CHECKSUMS, write_checksums
from fedtt.errors import RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.exports.model_card import model_card
from fedtt.experiment.opened_run import open_model
from fedtt.models.model_files import quiet_transformers
from fedtt.peft.adapt import wrapped_quietly
from fedtt.registry import Registry
from fedtt.run_place import check_creatable

__all__ = ["EXPORTS", "export_run"]

EXPORTS: Registry[ExportFormat] = Registry(
    "export format",
    {
        "peft": "fedtt.experiment.exports.export_peft:PEFT",
        "merged": "fedtt.experiment.exports.export_merged:MERGED",
        "onnx": "fedtt.experiment.exports.export_onnx:ONNX",
    },
)


def export_run(path: Path, out: Path, *, name: str) -> list[str]:
    """Write the run's saved state in that format into the new directory ``out``; what was checked.

    Nothing of the run but its model, its tokenizer and the card goes along, and ``out`` is there
    when it is whole; where it was an empty directory, its checksums come last. Raises
    :class:`RunError` for a place that is taken, and whatever is in the way of the format.
    """
    export, out = EXPORTS[name], out.resolve()  # "." has no name
    _check_free(out)
    export.check()
    directory = open_run(path)
    opened = open_model(path)
    beside = name_beside(out)
    try:
        beside.mkdir(parents=True)
        with quiet_transformers(), wrapped_quietly():
            checked = export.write(opened, directory, beside)
        _save_tokenizer(opened.tokenizer, beside)
        card = model_card(directory, opened.config, export, checked=checked)
        (beside / "README.md").write_text(card, encoding="utf-8")
        open_to_all(beside)
        write_checksums(beside)
        _move(beside, out)
    except (OSError, SafetensorError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError("cannot write the export", where=str(out), got=error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return checked


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Raises :class:`OSError` for a full disk, of which tokenizers makes a bare ``Exception``."""
    try:
        tokenizer.save_pretrained(out)
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise OSError(str(error)) from error


def _move(beside: Path, out: Path) -> None:
    """An empty directory is filled, not replaced: somebody may stand in it."""
    if not out.exists():
        beside.rename(out)
        return
    for path in sorted(beside.iterdir(), key=lambda path: path.name == CHECKSUMS):
        path.rename(out / path.name)


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(
            "there is something at that place already",
            where=str(out),
            fix="give a new directory",
        )
    check_creatable(out)
