"""An answer for every text of a file, into a file of the same kind with the answers beside."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.atomic_write import replaced_file
from fedtt.data.labeled_file import Columns, copy_with, kind_of
from fedtt.errors import DataError, RunError
from fedtt.experiment.asked_columns import asked_columns
from fedtt.experiment.classify import answer_columns, open_predictor

PREDICTED = "predicted_{}"  # of an answer's first column: its label, or its value


@dataclass(frozen=True, kw_only=True)
class PredictedFile:
    """What was written: rows, how many of each label (of numbers: none), and how many texts were
    cut.
    """

    path: Path
    rows: int
    labels: dict[str, int]
    cut: int
    max_length: int


def check_place(file: Path, out: Path, *, overwrite: bool) -> None:
    """Raise :class:`FedttError` where ``out`` cannot become what ``file`` is with answers."""
    if not file.is_file():
        raise DataError(
            "the data file cannot be read",
            where="--file",
            got=f"{file}: {'a directory' if file.exists() else 'no such file'}",
        )
    if {kind_of(file), kind_of(out)} > {kind_of(file)}:
        raise DataError(
            "the file that is written is of the same kind as the one that is read",
            where="--out",
            got=out.suffix,
            expected=file.suffix,
            fix=f"--out {out.with_suffix(file.suffix)}",
        )
    if out.exists() and not (overwrite and out.is_file()):
        raise RunError(
            "there is something at that place already",
            where="--out",
            got=out,
            fix="give another name" + ("" if out.is_dir() else ", or overwrite it (--overwrite)"),
        )
    if not out.absolute().parent.is_dir():
        raise RunError("no such directory", where="--out", got=out.absolute().parent)


def predict_file(
    run: Path, file: Path, out: Path, *, text_column: str | None = None, overwrite: bool = False
) -> PredictedFile:
    """Write ``file`` to ``out`` with ``predicted_label`` and ``p_CLASS`` of every class, or of a
    regression with ``predicted_value``.

    The text is in ``text_column``, by default the one that the run was trained on, and so is the
    second text of a pair. A million rows take no more memory than a few thousand; ``out`` is there
    when it is whole. Raises :class:`DataError`, with the line, and :class:`RunError`.
    """
    check_place(file, out, overwrite=overwrite)
    predictor = open_predictor(run)
    config = predictor.opened.config
    first, *others = answer_columns(config.task.kind, predictor.label_names)
    new = {PREDICTED.format(first): first} | {name: name for name in others}
    counts: Counter[str] = Counter()
    rows = cut = 0

    def answer(columns: Sequence[list[str]]) -> Columns:
        nonlocal rows, cut
        found = predictor.answer(*columns)
        rows += len(found)
        cut += sum(one.cut_to is not None for one in found)
        said = [one.columns for one in found]
        if predictor.label_names:
            counts.update(one["label"] for one in said)
        return {written: [one[name] for one in said] for written, name in new.items()}

    own, *second = asked_columns(config.data)
    try:
        with replaced_file(out) as target:
            copy_with(file, target, wanted=[text_column or own, *second], new=[*new], answer=answer)
    except OSError as error:
        if isinstance(error, RunError):
            raise
        raise RunError("cannot write the file", where=str(out), got=error) from error
    return PredictedFile(
        path=out,
        rows=rows,
        labels={name: counts[name] for name in predictor.label_names},
        cut=cut,
        max_length=config.model.max_length,
    )
