"""A run that finished or stopped, opened again: evaluate it, predict with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.data import LabeledTexts, check_texts
from fedtt.engine.build import build_federation
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import build_task, model_class_of
from fedtt.engine.cost import exchanged_kinds
from fedtt.engine.evaluation import class_probabilities
from fedtt.engine.fingerprint import digest_base
from fedtt.errors import RunError
from fedtt.experiment.description import check_unchanged, describe
from fedtt.experiment.directory import RunDirectory, open_run
from fedtt.experiment.measure import Metrics, Portion, measure
from fedtt.models import load_tokenizer
from fedtt.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one text; ``probabilities`` by label name, most probable first.

    ``cut_to`` is how many tokens of it the model read, where it was longer than that.
    """

    text: str
    label: str
    probabilities: dict[str, float]
    cut_to: int | None = None


def evaluate_run(path: Path, *, split: str) -> Metrics:
    """Metrics of the run's saved global model on a split of every client.

    Raises :class:`RunError` if data or base weights are not those of the run any more.
    """
    directory = open_run(path)
    config = directory.config()
    saved = directory.data()
    federation = build_federation(config)
    check_unchanged(saved or {}, describe(federation), where=str(path))
    state = directory.load_state(expected=p.structure_of(federation.initial.params))
    return measure(
        federation,
        state.params,
        Portion(split=split),
        batch_size=config.evaluation.batch_size,
    )


def predict_texts(path: Path, texts: Sequence[str]) -> list[Prediction]:
    """Classes of ``texts`` by the run's saved state; needs the base model, not the data.

    Raises :class:`RunError` if the base weights are not those of the run any more, and
    :class:`DataError` for a text that no file may hold: an empty one, or no Unicode.
    """
    directory = open_run(path)
    label_names = directory.label_names()
    config = directory.config()
    if config.data.pair_column is not None:
        raise RunError(
            "the run classifies pairs of texts, and single texts were given",
            where=f"{path}, data.pair_column = {config.data.pair_column!r}",
            fix="predict with a run that was trained on single texts",
        )
    check_texts(texts)
    opened = _open_model(directory, config, label_names)
    if opened.task.class_logits is None:
        raise RunError(
            "the run's model has no classes",
            where=f"{path}, task.kind = {config.task.kind!r}",
            fix="fedtt generate RUN --prompt TEXT, where it writes; fedtt evaluate RUN measures it",
        )
    examples = LabeledTexts(texts=tuple(texts), labels=(0,) * len(texts))
    max_length = config.model.max_length
    tokenized = opened.task.tokenize(examples, max_length=max_length)
    probabilities = class_probabilities(
        opened.model,
        opened.task,
        tokenized,
        num_classes=len(label_names),
        pad_token_id=int(opened.tokenizer.pad_token_id),
        batch_size=config.evaluation.batch_size,
        where=str(path),
    )
    return [
        _prediction(
            text,
            [float(value) for value in row],
            label_names,
            cut_to=max_length if was_cut else None,
        )
        for text, row, was_cut in zip(texts, probabilities, tokenized.truncated, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """The run's global model with what is needed to ask it something."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    config: RunConfig


def open_model(path: Path) -> OpenedRun:
    """The run's saved state in its base model, without the data.

    Raises :class:`RunError` if the base weights are not those of the run any more.
    """
    directory = open_run(path)
    return _open_model(directory, directory.config(), directory.label_names())


def _open_model(
    directory: RunDirectory, config: RunConfig, label_names: Sequence[str]
) -> OpenedRun:
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    model_class = model_class_of(config.task)
    method = build_method(config.method, task=model_class, server=config.server)
    model = build_model(
        config, method, label_names=label_names, pad_token_id=int(tokenizer.pad_token_id)
    )
    initial = p.read_params(model, exchanged_kinds(model, method))
    base = {"digests": {"base_model": digest_base(model, initial)}}
    check_unchanged(directory.data() or {}, base, where=str(directory.path))
    p.write_params(model, directory.load_state(expected=p.structure_of(initial)).params)
    task = build_task(
        config.task, source=config.data.source, tokenizer=tokenizer, label_names=label_names
    )
    return OpenedRun(model=model, tokenizer=tokenizer, task=task, config=config)


def _prediction(
    text: str, row: Sequence[float], label_names: Sequence[str], *, cut_to: int | None
) -> Prediction:
    ranked = sorted(zip(label_names, row, strict=True), key=lambda pair: -pair[1])
    return Prediction(text=text, label=ranked[0][0], probabilities=dict(ranked), cut_to=cut_to)
