"""What a run's model says of texts: the class of each, or of a regression its number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from fedtt.data import LabeledTexts, TokenizedTexts, check_texts
from fedtt.engine.evaluation import class_probabilities, predicted_numbers
from fedtt.errors import RunError
from fedtt.experiment.asked_columns import asked_columns
from fedtt.experiment.directory import open_run
from fedtt.experiment.opened_run import OpenedRun, open_model
from fedtt.task_kinds import TASK_KINDS

PROBABILITY = "p_{}"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one text; ``probabilities`` by label name, most probable first.

    ``cut_to`` is how many tokens of it the model read, where it was longer than that.
    """

    text: str
    label: str
    probabilities: dict[str, float]
    cut_to: int | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """``label``, and ``p_CLASS`` for each class."""
        shares = {PROBABILITY.format(name): share for name, share in self.probabilities.items()}
        return {"label": self.label, **shares}

    @property
    def nested(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        return {"label": self.label, "probabilities": self.probabilities}

    @property
    def shown(self) -> str:
        """The answer in a line for people."""
        return f"{self.label}  {self.probabilities[self.label]:.3f}"


@dataclass(frozen=True, kw_only=True)
class PredictedNumber:
    """What a regression says of one text, on the scale of the labels that it was trained on.

    ``cut_to`` is as in :class:`Prediction`.
    """

    text: str
    value: float
    cut_to: int | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """``value``."""
        return {"value": self.value}

    @property
    def nested(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        return self.columns

    @property
    def shown(self) -> str:
        """The answer in a line for people."""
        return f"{self.value:.4f}"


Answer: TypeAlias = Prediction | PredictedNumber


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """An opened run whose model says a class, or a number; then it has no ``label_names``."""

    path: Path
    opened: OpenedRun
    label_names: Sequence[str]

    def answer(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Sequence[Answer]:
        """What the model says of ``texts``, or of each with its second text.

        Raises :class:`DivergenceError` for outputs that are not finite.
        """
        opened, max_length = self.opened, self.opened.config.model.max_length
        unknown = LabeledTexts(  # zeros stand for what is asked
            texts=tuple(texts),
            labels=(0,) * len(texts),
            pairs=None if pairs is None else tuple(pairs),
            targets=(0.0,) * len(texts),
        )
        tokenized = opened.task.tokenize(unknown, max_length=max_length)
        cuts = [max_length if was_cut else None for was_cut in tokenized.truncated]
        if opened.task.numbers is not None:
            values = predicted_numbers(opened.model, opened.task, tokenized, **self._asking)
            return [
                PredictedNumber(text=text, value=float(value), cut_to=cut)
                for text, value, cut in zip(texts, values, cuts, strict=True)
            ]
        return self._classes(texts, tokenized, cuts)

    def _classes(
        self, texts: Sequence[str], tokenized: TokenizedTexts, cuts: Sequence[int | None]
    ) -> list[Prediction]:
        rows = class_probabilities(self.opened.model, self.opened.task, tokenized, **self._asking)
        return [
            _prediction(text, [float(value) for value in row], self.label_names, cut_to=cut)
            for text, row, cut in zip(texts, rows, cuts, strict=True)
        ]

    @property
    def _asking(self) -> Mapping[str, Any]:
        return {
            "pad_token_id": int(self.opened.tokenizer.pad_token_id),
            "batch_size": self.opened.config.evaluation.batch_size,
            "where": str(self.path),
        }


def answer_columns(task_kind: str, label_names: Sequence[str]) -> list[str]:
    """The keys of every answer's ``columns``, classes in the order of the model's outputs."""
    if TASK_KINDS[task_kind].output is not None:
        return ["value"]
    return ["label", *map(PROBABILITY.format, label_names)]


def open_predictor(path: Path) -> Predictor:
    """The run's saved state in its base model. Raises :class:`RunError` where it says neither a
    class nor a number, or the base weights are not those of the run any more.
    """
    label_names = open_run(path).label_names()
    opened = open_model(path)
    if opened.task.class_logits is None and opened.task.numbers is None:
        raise RunError(
            "the run's model says no class and no number",
            where=f"{path}, task.kind = {opened.config.task.kind!r}",
            fix="fedtt generate RUN --prompt TEXT, where it writes; fedtt evaluate RUN measures it",
        )
    names = label_names if opened.task.numbers is None else ()
    return Predictor(path=path, opened=opened, label_names=names)


def predict_texts(
    path: Path, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> Sequence[Answer]:
    """What the run's saved state says of ``texts``, or of each with its second text; needs the base
    model, not the data.

    Raises :class:`RunError` if the base weights are not those of the run any more, and
    :class:`DataError` for a text that no file may hold: an empty one, or no Unicode.
    """
    directory = open_run(path)
    directory.label_names()
    columns = asked_columns(directory.config().data)
    if len(columns) > 1 and pairs is None:
        raise RunError(
            "the run answers pairs of texts, and single texts were given",
            where=str(path),
            expected=f"a table with the columns {' and '.join(map(repr, columns))}",
            fix="fedtt predict RUN --file FILE --out FILE; from Python, run.predict(table)",
        )
    for given in (texts, pairs or ()):
        check_texts(given)
    return open_predictor(path).answer(texts, pairs)


def _prediction(
    text: str, row: Sequence[float], label_names: Sequence[str], *, cut_to: int | None
) -> Prediction:
    ranked = sorted(zip(label_names, row, strict=True), key=lambda pair: -pair[1])
    return Prediction(text=text, label=ranked[0][0], probabilities=dict(ranked), cut_to=cut_to)
