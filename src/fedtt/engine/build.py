"""From a config to the objects of a run; each of the ``build_`` modules makes a part."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch
from peft import PeftModel
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from fedtt import params as p
from fedtt.config import ClientConfig, RunConfig
from fedtt.data import SPLITS, FederatedData, Held, TokenizedTexts
from fedtt.engine.build_base_model import (
    base_model_spec,
    build_model_and_notes,
    check_model_options,
)
from fedtt.engine.build_checks import (
    check_cohort,
    check_head,
    check_kept,
    check_no_dropout,
    check_privacy,
    check_room,
    check_secure_sum,
    check_size,
    checked_max_length,
    num_clients,
)
from fedtt.engine.build_method import build_method
from fedtt.engine.build_splits import (
    fewer_validation_examples,
    tokenize_in_pieces,
    truncation_notes,
)
from fedtt.engine.build_task import build_task, model_class_of, output_names
from fedtt.engine.cost import MessageCost, count_message, exchanged_kinds
from fedtt.engine.data import build_data, naming_refused_chats
from fedtt.engine.fingerprint import digest_of_start
from fedtt.engine.hostile_clients import (
    Hostile,
    check_attack,
    hostile_clients,
    poisoned_data,
    triggered_splits,
)
from fedtt.engine.positions import text_positions
from fedtt.engine.token_budget import tokens_that_fit
from fedtt.errors import ModelError
from fedtt.federated.local.rate_factors import moved_by, rate_factors
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.method import Method
from fedtt.federated.types import ServerState
from fedtt.methods.lora_family import REFERENCE as LORA_REFERENCE
from fedtt.metrics import check_client_ids
from fedtt.models import load_model_config, load_tokenizer, resolve_device, revision_notes
from fedtt.peft import sum_by_kind
from fedtt.tasks import Task
from fedtt.tasks.task import ClientLoss, client_loss


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Everything a run needs. ``model`` is the one mutable thing: all clients take turns on it.

    ``splits`` maps split -> client -> tokenized examples, with the one key ``all`` for a split
    that the clients share; ``lora_reference`` is what LoRA with rank 8 would exchange with the
    same model, None where LoRA has no place in it by default. ``label_cells`` are the integers that
    a site's file writes for the classes, where it does; ``hostile`` are clients that attack, in a
    simulation.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    method: Method
    label_names: tuple[str, ...]
    splits: Mapping[str, Held[TokenizedTexts]]
    training: LocalTraining
    loss: ClientLoss
    initial: ServerState
    kinds: Mapping[str, str]
    lora_reference: MessageCost | None
    notes: tuple[str, ...]
    label_cells: tuple[int, ...] | None = None
    hostile: Hostile | None = None

    @property
    def population(self) -> tuple[str, ...]:
        """Every client's id, in the data's order."""
        return self.splits["train"].parts.names

    def held(self, split: str, client_id: str | None = None) -> Mapping[str, TokenizedTexts]:
        """Who holds what of the split. With a client: what measures it, its own examples or those
        that all share.
        """
        holders = self.splits[split]
        if client_id is None or client_id not in holders:
            return holders
        return {client_id: holders[client_id]}

    @property
    def exchanged_parameters(self) -> dict[str, int]:
        """Number of exchanged parameters by kind."""
        return {str(k): n for k, n in sum_by_kind(self.kinds, self.initial.params).items()}

    @property
    def subspace_numbers(self) -> int | None:
        """How many numbers move what trains in the first round; None without a subspace."""
        subspace = self.method.subspace
        if subspace is None:
            return None
        trained = p.select(self.initial.params, self.method.trained(self.initial))
        return subspace.length(p.structure_of(trained))


def build_training(config: ClientConfig, factors: Mapping[str, float]) -> LocalTraining:
    """How a client trains in a round; the learning rate is the round's and not part of it."""
    return LocalTraining(
        optimizer=config.optimizer,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm or None,
        proximal=config.proximal,
        batch_size=config.batch_size,
        steps=config.steps,
        epochs=config.epochs or 1,
        factors=factors,
    )


def method_of(config: RunConfig) -> Method:
    """The run's method."""
    return build_method(
        config.method,
        task=model_class_of(config.task),
        server=config.server,
        wire=config.wire,
        seed=config.seed,
    )


def _rate_factors(
    config: ClientConfig, initial: p.Params, kinds: Mapping[str, str]
) -> dict[str, float]:
    head = (config.head_learning_rate or config.learning_rate) / config.learning_rate
    return rate_factors(initial, kinds, head=head, zero_start=config.zero_start_factor)


def _rate_notes(config: ClientConfig, factors: Mapping[str, float]) -> list[str]:
    if config.zero_start_factor == 1.0 or config.zero_start_factor in factors.values():
        return []
    return [
        "client.zero_start_factor changes nothing: all that the method trains beside the head "
        "starts at other values than zero."
    ]


def _subspace_notes(method: Method, start: ServerState) -> list[str]:
    trained = p.structure_of(p.select(start.params, method.trained(start)))
    there_are = sum(spec.num_elements for spec in trained.values())
    if method.subspace is None or method.subspace.length(trained) < there_are:
        return []
    return [
        f"method.subspace changes nothing in the first round: its {method.subspace.size:,} numbers "
        f"are as many as the {there_are:,} parameters that train there, or more. Take fewer, or "
        "leave it out."
    ]


def resolve_auto(config: RunConfig) -> RunConfig:
    """The config with what it leaves to the machine and the day, to be saved and sent.

    That is ``model.dtype``, ``cohort.max_tokens``, which decides who trains with whom, and, of
    chats, ``task.date``: a run goes on with what it began with, on whatever machine.
    """
    method = method_of(config)
    model = config.model.model_copy(update={"dtype": base_model_spec(config.model, method).dtype})
    config = config.model_copy(update={"model": model})
    cohort = config.cohort.model_copy(update={"max_tokens": _max_tokens(config)})
    task = config.task
    if task.messages is not None and task.date is None:
        task = task.model_copy(update={"date": datetime.now(UTC).date()})
    return config.model_copy(update={"cohort": cohort, "task": task})


def _max_tokens(config: RunConfig) -> int | str:
    if config.cohort.batched == "off" or config.cohort.max_tokens != "auto":
        return config.cohort.max_tokens
    model_config = load_model_config(config.model.name, revision=config.model.revision)
    return tokens_that_fit(
        model_config,
        device=resolve_device(config.model.device),
        dtype=getattr(torch, config.model.dtype),
        model_class=model_class_of(config.task),
    )


def build_federation(config: RunConfig, data: FederatedData | None = None) -> Federation:
    """All objects of the run that ``config`` describes, the model with its initial adapter.

    With ``data``, that is what the clients hold, and ``[data]`` and ``[partition]`` are not read.

    What can be wrong is checked in order of cost: the data's files and their split, then model and
    adapter on the meta device, then the tokens, and the weights last. The same config gives the
    same initial parameters, bit for bit.
    """
    model_class = model_class_of(config.task)
    method = method_of(config)
    if data is None:
        data = build_data(config.data, config.partition, config.task)
    check_client_ids(data.client_ids)
    hostile = None
    if config.attack is not None:
        hostile = hostile_clients(config.attack, data, seed=config.seed)
        data = poisoned_data(data, hostile)
    outputs = output_names(config.task, label_names=data.label_names)
    model_config = load_model_config(
        config.model.name,
        revision=config.model.revision,
        num_labels=len(outputs) if model_class == "classification" else None,
    )
    check_model_options(config.model, model_config, method, model_class=model_class)
    message = count_message(model_config, method, task=model_class)
    check_size(message)
    check_head(config, message)
    check_privacy(config, method)
    check_attack(config.attack, method)
    check_cohort(config, method, population=num_clients(config, data))
    check_secure_sum(config, method, population=num_clients(config, data))
    check_kept(config, method, population=num_clients(config, data))
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    pad_token_id = int(tokenizer.pad_token_id)
    task = build_task(
        config.task, source=config.data.source, tokenizer=tokenizer, label_names=data.label_names
    )
    max_length = checked_max_length(config, model_config, method.adapter)
    texts = {split: data.holders(split) for split in SPLITS}
    texts["validation"] = fewer_validation_examples(texts["validation"], config=config)
    texts |= triggered_splits(texts, hostile)
    with naming_refused_chats(config.data, config.task):
        splits = {
            split: Held(tokenize_in_pieces(task, held.pool, max_length=max_length), held.parts)
            for split, held in texts.items()
        }
    check_room(task, splits, positions=text_positions(model_config, method.adapter))
    model, model_notes = build_model_and_notes(
        config, method, label_names=data.label_names, pad_token_id=pad_token_id
    )
    check_no_dropout(config, model, model.config)
    kinds = exchanged_kinds(model, method)
    initial = p.read_params(model, kinds)
    factors = _rate_factors(config.client, initial, kinds)
    training = build_training(config.client, factors)
    if method.subspace is not None:
        moved = replace(method.subspace, factors=moved_by(training))
        method = replace(method, subspace=moved)
    start = ServerState(next_round=0, params=initial, start=digest_of_start(initial))
    return Federation(
        model=model,
        tokenizer=tokenizer,
        task=task,
        method=method,
        label_names=data.label_names,
        splits=splits,
        training=training,
        loss=client_loss(
            task, num_classes=len(data.label_names), logit_adjustment=config.client.logit_adjustment
        ),
        initial=start,
        kinds=kinds,
        lora_reference=_lora_reference(model_config, model_class),
        label_cells=data.label_cells,
        hostile=hostile,
        notes=(
            *([hostile.described(len(data.client_ids))] if hostile else []),
            *data.notes,
            *truncation_notes({s: splits[s] for s in SPLITS}, max_length=max_length),
            *revision_notes(config.model.name, config.model.revision),
            *model_notes,
            *_rate_notes(config.client, factors),
            *_subspace_notes(method, start),
        ),
    )


def _lora_reference(model_config: PretrainedConfig, model_class: str) -> MessageCost | None:
    reference = build_method(LORA_REFERENCE, task=model_class)
    try:
        return count_message(model_config, reference, task=model_class)
    except ModelError:
        # An architecture whose layers nobody named: the run's own method has its target_modules.
        return None
