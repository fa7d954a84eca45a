"""A run that finished or stopped, opened again: its model, and its measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.engine.build_base_model import build_model
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import build_task, model_class_of
from fedtt.engine.cost import exchanged_kinds
from fedtt.engine.fingerprint import digest_base
from fedtt.experiment.description import check_unchanged, describe
from fedtt.experiment.directory import RunDirectory, open_run
from fedtt.experiment.measure import Metrics, Portion, measure
from fedtt.models import load_tokenizer
from fedtt.tasks import Task


def evaluate_run(path: Path, *, split: str) -> Metrics:
    """Metrics of the run's saved global model on a split of every client.

    Raises :class:`RunError` if data or base weights are not those of the run any more.
    """
    directory = open_run(path)
    config = directory.config()
    saved = directory.data()
    federation = build_federation(config)
    check_unchanged(saved or {}, describe(federation, config), where=str(path))
    state = directory.load_state(expected=p.structure_of(federation.initial.params))
    return measure(
        federation,
        state.params,
        Portion(split=split),
        batch_size=config.evaluation.batch_size,
    )


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
