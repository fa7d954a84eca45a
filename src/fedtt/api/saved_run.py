"""A run directory as tables, a model and answers."""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedtt.api.asked import asked_texts, file_path
from fedtt.api.own_data import Examples
from fedtt.config import RunConfig
from fedtt.data import SPLITS
from fedtt.errors import FedttError, RunError
from fedtt.experiment import answer_columns, evaluate_run, predict_texts
from fedtt.experiment import open_run as open_directory
from fedtt.experiment.asked_columns import asked_columns
from fedtt.experiment.exports import export_run
from fedtt.experiment.opened_run import open_model
from fedtt.experiment.predicted_file import PredictedFile, predict_file
from fedtt.experiment.run_files import Record
from fedtt.experiment.run_rows import MEASURED, rows_at, spent
from fedtt.metrics import MEAN
from fedtt.report import write_report
from fedtt.run_place import DEFAULT_PARENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

NO_ROUND = (
    "round",
    "loss",
    "learning_rate",
    "uplink_bytes",
    "downlink_bytes",
    "clients",
    "dropped",
    "seconds",
)


@dataclass(frozen=True)
class Run:
    """A run that finished, stopped, or goes on in another process, read anew at every call."""

    path: Path

    @cached_property
    def config(self) -> RunConfig:
        """The configuration it was started with, complete."""
        return open_directory(self.path).config()

    @property
    def summary(self) -> dict[str, Any] | None:
        """What ``summary.json`` holds; None before the run ended."""
        return open_directory(self.path).summary()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, cut or moved, and what is to be said of the saved state."""
        directory = open_directory(self.path)
        summary = directory.summary() or {}
        return (*summary.get("notes", ()), *directory.notes())

    @property
    def rounds(self) -> pd.DataFrame:
        """One row a finished round, from 1.

        Columns: ``loss`` (mean over clients), ``learning_rate``, ``validation_*`` (mean over
        clients; missing in rounds that were not validated), ``uplink_bytes``, ``downlink_bytes``
        (all clients), ``clients`` that answered, ``dropped``, ``seconds``, and under differential
        privacy ``epsilon``, as spent so far (``example_epsilon``: of examples).
        """
        rows = [_round_row(record) for record in open_directory(self.path).rounds()]
        return pd.DataFrame(rows, columns=None if rows else [*NO_ROUND]).set_index("round")

    @property
    def clients(self) -> pd.DataFrame:
        """One row a round and client that answered: what it said of itself, and its bytes."""
        rows = [
            {"round": record["round"] + 1, "client": client_id, **values}
            for record in open_directory(self.path).rounds()
            for client_id, values in record["clients"].items()
        ]
        keys = ["round", "client"]
        return pd.DataFrame(rows, columns=None if rows else keys).set_index(keys)

    @property
    def results(self) -> pd.DataFrame:
        """Scores on the test split, one row a client and their ``mean``.

        Columns: the metrics after training, then those ``before`` it and ``alone`` (the client
        trained by itself), as far as they were measured. Raises :class:`RunError` before the end.
        """
        summary = self._finished()
        columns = {
            metric if what == "test" else f"{what}_{metric}": values
            for what in MEASURED
            for metric, values in (summary[what] or {}).items()
        }
        return pd.DataFrame(columns).rename_axis("client")

    def model(self) -> "tuple[PeftModel, PreTrainedTokenizerBase]":
        """The global model, its base with the trained adapter in it, and the tokenizer."""
        opened = open_model(self.path)
        return opened.model, opened.tokenizer

    def predict(self, texts: str | Iterable[str] | Examples) -> pd.DataFrame:
        """One row a text: ``text``, its ``label``, ``p_CLASS`` for each class's probability,
        and ``cut_to``, the tokens that were read of a text that was longer. Of a regression
        ``value`` stands in place of the label and the probabilities.

        Of a DataFrame or a Dataset the columns are read that the run was trained on, those of a
        pair too. Raises :class:`DataError` for what is no text.
        """
        config = self.config
        asked, pairs = asked_texts(texts, asked_columns(config.data))
        label_names = open_directory(self.path).label_names()
        rows = [
            {"text": answer.text, **answer.columns, "cut_to": answer.cut_to}
            for answer in predict_texts(self.path, asked, pairs)
        ]
        columns = ["text", *answer_columns(config.task.kind, label_names), "cut_to"]
        return pd.DataFrame(rows, columns=columns).astype({"cut_to": "Int64"})

    def predict_file(
        self,
        file: str | Path,
        out: str | Path,
        *,
        text_column: str | None = None,
        overwrite: bool = False,
    ) -> PredictedFile:
        """Write ``file`` to ``out`` with an answer beside every row, as ``fedtt predict --file``.

        The columns ``predicted_label`` and ``p_CLASS`` are new, of a regression
        ``predicted_value``. The text is in ``text_column``, by default the run's own. Both files
        are of one kind (``.csv``, ``.jsonl``, ``.json``, ``.parquet``) and may be larger than
        memory. Raises :class:`DataError`, with the line, and :class:`RunError`.
        """
        places = file_path(file, "file"), file_path(out, "out")
        return predict_file(self.path, *places, text_column=text_column, overwrite=overwrite)

    def export(
        self,
        directory: str | Path,
        *,
        format: str = "peft",  # noqa: A002  (as the option is called)
    ) -> tuple[str, ...]:
        """Write the model for others into a new directory, as ``fedtt export``; what was checked.

        ``format`` is ``"peft"``, ``"merged"`` or ``"onnx"``. Raises :class:`RunError` for a place
        that is taken, and :class:`~fedtt.errors.FedttError` for what is in the way of the format.
        """
        return tuple(export_run(self.path, Path(directory), name=format))

    def evaluate(self, split: str = "test") -> pd.DataFrame:
        """Every metric of the saved state on a split: one row a client and their ``mean``."""
        if split not in SPLITS:
            raise RunError("no such split", where="split", got=split, expected=", ".join(SPLITS))
        return pd.DataFrame(evaluate_run(self.path, split=split)).rename_axis("client")

    def plot(self) -> "Figure":
        """Validation score and loss over rounds, and over the bytes sent so far."""
        if self.rounds.empty:
            raise RunError(
                "nothing to draw yet",
                where=str(self.path),
                got="no finished round",
                fix="wait for the first, or fedtt.resume(run)",
            )
        try:
            from fedtt.api.plots import plot_rounds
        except ImportError as error:
            raise FedttError(
                "pictures need matplotlib", got=error, fix="pip install 'fedtt[report]'"
            ) from error
        return plot_rounds(self.rounds)

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, one HTML file; where it lies (default: in the run's directory)."""
        return write_report([self.path], None if out is None else Path(out))

    def _repr_html_(self) -> str:
        done = self.summary
        state = "finished" if done else f"{len(self.rounds)} of {self.config.rounds} rounds"
        table = self.results if done else self.rounds.tail(5)
        place = html.escape(str(self.path))
        return f"<p>fedtt run <code>{place}</code>: {state}</p>{table.to_html()}"

    def _finished(self) -> dict[str, Any]:
        summary = self.summary
        if summary is None:
            raise RunError(
                "the run has not ended",
                where=str(self.path),
                got=f"{len(self.rounds)} of {self.config.rounds} rounds",
                fix="fedtt.resume(run) goes on with it; run.rounds has what there is",
            )
        return summary


def open_run(path: str | Path) -> Run:
    """The run in a directory that ``fedtt.train`` or ``fedtt train`` made. Raises RunError."""
    return Run(open_directory(Path(path)).path.absolute())


def load_runs(places: str | Path | Iterable[str | Path] = DEFAULT_PARENT) -> pd.DataFrame:
    """One row a run: those given, and all that lie in a given directory that is none itself.

    Columns: ``run`` (its path), ``state`` ("finished", "running", "stopped" where it has not
    ended, "unreadable" with a ``problem`` for one that was found and cannot be read), ``model``,
    ``method``, ``seed``, ``rounds`` and ``of_rounds``, ``changed`` (when a file of it was written
    last), ``score`` (the metric that counts), the means over clients of ``test_*``, ``before_*``
    and ``alone_*``, ``uplink_bytes``, ``downlink_bytes``, ``seconds``, and under differential
    privacy ``epsilon`` (``example_epsilon``: of examples). Raises :class:`RunError` for a place
    that is neither a run nor a directory.
    """
    given = [places] if isinstance(places, str | Path) else list(places)
    rows = [row for place in given for row in rows_at(Path(place))]
    keys = ["run", "state", "model", "method", "seed", "rounds"]
    return pd.DataFrame(rows, columns=None if rows else keys)


def _round_row(record: Record) -> dict[str, Any]:
    validation = record["validation"] or {}
    return {
        "round": record["round"] + 1,
        "loss": record["loss"],
        "learning_rate": record["learning_rate"],
        **{f"validation_{metric}": values[MEAN] for metric, values in validation.items()},
        "uplink_bytes": record["uplink_bytes"],
        "downlink_bytes": record["downlink_bytes"],
        "clients": len(record["clients"]),
        "dropped": len(record["dropped"]),
        "seconds": record["seconds"],
        **spent(record),
    }
