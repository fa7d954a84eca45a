"""A run's model as a classifier of texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtt.data import LabeledTexts, check_texts
from fedtt.engine.evaluation import class_probabilities
from fedtt.errors import RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.opened_run import OpenedRun, open_model


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one text; ``probabilities`` by label name, most probable first.

    ``cut_to`` is how many tokens of it the model read, where it was longer than that.
    """

    text: str
    label: str
    probabilities: dict[str, float]
    cut_to: int | None = None


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """An opened run whose model has classes."""

    path: Path
    opened: OpenedRun
    label_names: Sequence[str]

    def answer(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """The classes of ``texts``, or of each with its second text.

        Raises :class:`DivergenceError` for outputs that are not finite.
        """
        opened, max_length = self.opened, self.opened.config.model.max_length
        second = None if pairs is None else tuple(pairs)
        examples = LabeledTexts(texts=tuple(texts), labels=(0,) * len(texts), pairs=second)
        tokenized = opened.task.tokenize(examples, max_length=max_length)
        probabilities = class_probabilities(
            opened.model,
            opened.task,
            tokenized,
            num_classes=len(self.label_names),
            pad_token_id=int(opened.tokenizer.pad_token_id),
            batch_size=opened.config.evaluation.batch_size,
            where=str(self.path),
        )
        return [
            _prediction(
                text,
                [float(value) for value in row],
                self.label_names,
                cut_to=max_length if was_cut else None,
            )
            for text, row, was_cut in zip(texts, probabilities, tokenized.truncated, strict=True)
        ]


def open_classifier(path: Path) -> Classifier:
    """The run's saved state in its base model. Raises :class:`RunError` where it has no classes,
    or the base weights are not those of the run any more.
    """
    label_names = open_run(path).label_names()
    opened = open_model(path)
    if opened.task.class_logits is None:
        raise RunError(
            "the run's model has no classes",
            where=f"{path}, task.kind = {opened.config.task.kind!r}",
            fix="fedtt generate RUN --prompt TEXT, where it writes; fedtt evaluate RUN measures it",
        )
    return Classifier(path=path, opened=opened, label_names=label_names)


def predict_texts(path: Path, texts: Sequence[str]) -> list[Prediction]:
    """Classes of ``texts`` by the run's saved state; needs the base model, not the data.

    Raises :class:`RunError` if the base weights are not those of the run any more, and
    :class:`DataError` for a text that no file may hold: an empty one, or no Unicode.
    """
    directory = open_run(path)
    directory.label_names()
    config = directory.config()
    if config.data.pair_column is not None:
        raise RunError(
            "the run classifies pairs of texts, and single texts were given",
            where=f"{path}, data.pair_column = {config.data.pair_column!r}",
            fix="fedtt predict RUN --file FILE --out FILE, with both columns",
        )
    check_texts(texts)
    return open_classifier(path).answer(texts)


def _prediction(
    text: str, row: Sequence[float], label_names: Sequence[str], *, cut_to: int | None
) -> Prediction:
    ranked = sorted(zip(label_names, row, strict=True), key=lambda pair: -pair[1])
    return Prediction(text=text, label=ranked[0][0], probabilities=dict(ranked), cut_to=cut_to)
