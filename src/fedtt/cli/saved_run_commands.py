"""``fedtt evaluate`` and ``fedtt predict``: a run, opened again."""

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


def predict_command(run: Path, texts: list[str], *, as_json: bool) -> None:
    """Print the class of every text and its probability."""
    check_run(run)
    check_texts(texts)
    from fedtt.experiment import predict_texts

    note_state(run)
    predictions = predict_texts(run, texts)
    if as_json:
        print_json(
            [
                {
                    "text": p.text,
                    "label": p.label,
                    "probabilities": p.probabilities,
                    "cut_to_tokens": p.cut_to,
                }
                for p in predictions
            ]
        )
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
        probability = prediction.probabilities[prediction.label]
        print_line(out, f"{prediction.label}  {probability:.3f}  {prediction.text}")
