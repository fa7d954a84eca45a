"""``fedtt evaluate`` and ``fedtt predict``: a run, opened again."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from fedtt.cli.console import console, print_error, print_json, print_line
from fedtt.data import SPLITS, check_texts
from fedtt.errors import ConfigError
from fedtt.run_place import check_run


def note_state(run: Path) -> None:
    """Print what is to be said of the run's saved state, beside the result."""
    from fedtt.experiment import open_run

    for note in open_run(run).notes():
        print_error("note: ", note, style="dim")


def evaluate_command(run: Path, *, split: str, as_json: bool) -> None:
    """Print every metric, per client and their mean."""
    if split not in SPLITS:
        raise ConfigError("unknown split", where="--split", got=split, expected=", ".join(SPLITS))
    check_run(run)
    from fedtt.experiment import evaluate_run

    note_state(run)
    metrics = evaluate_run(run, split=split)
    if as_json:
        print_json({"split": split, "metrics": metrics})
        return
    table = Table(title=f"{split} split", title_justify="left")
    table.add_column("client")
    for name in metrics:
        table.add_column(name, justify="right")
    first = next(iter(metrics.values()))
    for row in [*(name for name in first if name != "mean"), "mean"]:
        table.add_row(row, *(f"{values[row]:.4f}" for values in metrics.values()))
    console().print(table)


@dataclass(frozen=True, kw_only=True)
class FileQuestion:
    """A file of texts to answer, and where the answers go."""

    file: Path | None
    out: Path | None
    text_column: str | None
    overwrite: bool

    def check(self, texts: list[str]) -> bool:
        """Whether there is one. Raises :class:`ConfigError` for options that make no question."""
        if self.file is None and (self.out is not None or self.text_column or self.overwrite):
            raise ConfigError("--out, --text-column and --overwrite go with --file")
        if (self.file is None) == (not texts):
            raise ConfigError(
                "nothing to answer" if not texts else "texts and a file at once",
                expected="TEXT..., or --file FILE --out FILE",
            )
        if self.file is not None and self.out is None:
            raise ConfigError("--file goes with --out", fix="--out FILE, of the same kind")
        return self.file is not None


def predict_file_command(run: Path, asked: FileQuestion, *, as_json: bool) -> None:
    """Write the file with its answers, and print how many of each."""
    check_run(run)
    assert asked.file is not None and asked.out is not None  # noqa: PT018  (checked by FileQuestion.check)
    from fedtt.experiment.predicted_file import check_place, predict_file

    check_place(asked.file, asked.out, overwrite=asked.overwrite)
    note_state(run)
    done = predict_file(
        run, asked.file, asked.out, text_column=asked.text_column, overwrite=asked.overwrite
    )
    if done.cut:
        limit = f"model.max_length = {done.max_length} tokens"
        print_error("note: ", f"{done.cut} texts are longer than {limit}: cut there", style="dim")
    if as_json:
        counts = {"rows": done.rows, "labels": done.labels, "cut": done.cut}
        print_json({"out": str(done.path), **counts})
        return
    shares = ", ".join(f"{name} {count:,}" for name, count in done.labels.items())
    print_line(console(), f"{done.rows:,} rows{shares and ': '}{shares}; {done.path}")


def predict_command(run: Path, texts: list[str], *, as_json: bool) -> None:
    """Print the class of every text and its probability, or of a regression its number."""
    check_run(run)
    check_texts(texts)
    from fedtt.experiment import predict_texts

    note_state(run)
    predictions = predict_texts(run, texts)
    if as_json:
        print_json([{"text": p.text, **p.nested, "cut_to_tokens": p.cut_to} for p in predictions])
    for index, prediction in enumerate(predictions, start=1):
        if prediction.cut_to is not None:
            limit = f"model.max_length = {prediction.cut_to} tokens"
            print_error(
                "note: ", f"text {index} is longer than {limit} and was cut there.", style="dim"
            )
    if as_json:
        return
    out = console()
    for prediction in predictions:
        print_line(out, f"{prediction.shown}  {prediction.text}")
