"""Every text of a file classified, into a file of the same kind with the answers beside it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.atomic_write import replaced_file
from fedtt.data.labeled_file import Columns, copy_with, kind_of
from fedtt.errors import DataError, RunError
from fedtt.experiment.classify import open_classifier
from fedtt.experiment.directory import open_run

LABEL = "predicted_label"
PROBABILITY = "p_{}"


@dataclass(frozen=True, kw_only=True)
class PredictedFile:
    """What was written: rows, how many of each label, and how many texts were cut."""

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
    """Write ``file`` to ``out`` with ``predicted_label`` and ``p_CLASS`` of every class.

    The text is in ``text_column``, by default the one that the run was trained on, and so is the
    second text of a pair. A million rows take no more memory than a few thousand; ``out`` is there
    when it is whole. Raises :class:`DataError`, with the line, and :class:`RunError`.
    """
    check_place(file, out, overwrite=overwrite)
    data = open_run(run).config().data
    classifier = open_classifier(run)
    names = {name: PROBABILITY.format(name) for name in classifier.label_names}
    counts: Counter[str] = Counter()
    cut = 0

    def answer(columns: Sequence[list[str]]) -> Columns:
        nonlocal cut
        found = classifier.answer(*columns)
        counts.update(one.label for one in found)
        cut += sum(one.cut_to is not None for one in found)
        return {
            LABEL: [one.label for one in found],
            **{
                column: [one.probabilities[name] for one in found] for name, column in names.items()
            },
        }

    wanted = [text_column or data.text_column, *([data.pair_column] if data.pair_column else [])]
    try:
        with replaced_file(out) as target:
            copy_with(file, target, wanted=wanted, new=[LABEL, *names.values()], answer=answer)
    except OSError as error:
        if isinstance(error, RunError):
            raise
        raise RunError("cannot write the file", where=str(out), got=error) from error
    return PredictedFile(
        path=out,
        rows=counts.total(),
        labels={name: counts[name] for name in classifier.label_names},
        cut=cut,
        max_length=classifier.opened.config.model.max_length,
    )
