"""A run that finished or stopped, opened again: evaluate it, predict with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel

from fedtt import params as p
from fedtt.data import LabeledTexts, tokenize
from fedtt.engine.build import build_federation
from fedtt.engine.evaluation import predict
from fedtt.errors import RunError
from fedtt.experiment.directory import open_run
from fedtt.experiment.measure import Metrics, measure
from fedtt.models import load_classifier, load_tokenizer
from fedtt.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one text; ``probabilities`` by label name, most probable first."""

    text: str
    label: str
    probabilities: dict[str, float]


def evaluate_run(path: Path, *, split: str) -> Metrics:
    """Metrics of the run's saved global model on a split of every client."""
    directory = open_run(path)
    config = directory.config()
    federation = build_federation(config)
    state = directory.load_state(expected=p.structure_of(federation.initial.params))
    return measure(
        federation, state.params, federation.splits[split], batch_size=config.evaluation.batch_size
    )


def predict_texts(path: Path, texts: Sequence[str]) -> list[Prediction]:
    """Classes of ``texts`` by the run's saved adapter; needs the base model, not the data."""
    directory = open_run(path)
    config, label_names = directory.config(), directory.label_names()
    if config.data.pair_column is not None:
        raise RunError(
            "the run classifies pairs of texts, and single texts were given",
            where=f"{path}, data.pair_column = {config.data.pair_column!r}",
            fix="predict with a run that was trained on single texts",
        )
    if not (directory.adapter_path / "adapter_model.safetensors").is_file():
        raise RunError(
            "the run has no adapter yet",
            where=str(directory.adapter_path),
            fix=f"fedtt train --resume {path}",
        )
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    base = load_classifier(
        config.model.name,
        revision=config.model.revision,
        label_names=label_names,
        pad_token_id=int(tokenizer.pad_token_id),
        dropout=config.model.dropout,
        dtype=config.model.dtype,
        device=config.model.device,
        seed=derive_seed(config.seed, "head"),
    )
    model = PeftModel.from_pretrained(base, directory.adapter_path)
    examples = LabeledTexts(texts=tuple(texts), labels=(0,) * len(texts))
    outputs = predict(
        model,
        tokenize(examples, tokenizer, max_length=config.model.max_length),
        batch_size=config.evaluation.batch_size,
        pad_token_id=int(tokenizer.pad_token_id),
    )
    return [
        _prediction(text, [float(value) for value in row], label_names)
        for text, row in zip(texts, outputs.probabilities, strict=True)
    ]


def _prediction(text: str, row: Sequence[float], label_names: Sequence[str]) -> Prediction:
    ranked = sorted(zip(label_names, row, strict=True), key=lambda pair: -pair[1])
    return Prediction(text=text, label=ranked[0][0], probabilities=dict(ranked))
