"""From a config to the objects of a run. The only place where the two meet."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from peft import PeftConfig, PeftModel
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from fedtt import params as p
from fedtt.config import ClientConfig, ModelConfig, RunConfig
from fedtt.data import (
    SPLITS,
    FederatedData,
    Held,
    LabeledTexts,
    TokenizedTexts,
    concatenate,
    hold,
    map_large,
    sample_groups,
)
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import build_task, model_class_of, output_names
from fedtt.engine.cost import MessageCost, count_message, exchanged_kinds, put_into
from fedtt.engine.data import build_data, naming_refused_chats
from fedtt.engine.method_and_dtype import check_goes_with_options, choose_dtype
from fedtt.engine.positions import text_positions
from fedtt.engine.token_budget import memory_bytes, tokens_that_fit
from fedtt.errors import ConfigError, ModelError
from fedtt.federated.cohort import check_cohort_size
from fedtt.federated.local.rate_factors import moved_by, rate_factors
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.method import Method
from fedtt.federated.types import ServerState
from fedtt.methods.lora_family import REFERENCE as LORA_REFERENCE
from fedtt.metrics import check_client_ids
from fedtt.models import (
    BaseModelSpec,
    LoadedModel,
    ModelOptions,
    check_options,
    load_causal_lm,
    load_classifier,
    load_model_config,
    load_tokenizer,
    resolve_device,
    revision_notes,
)
from fedtt.peft import sum_by_kind
from fedtt.seeds import derive_seed, random_stream
from fedtt.tasks import Task
from fedtt.tasks.task import ClientLoss, client_loss

TEXTS_AT_ONCE = 8192
MAX_NOTES = 12  # with more clients to tell of, one note for all of them


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Everything a run needs. ``model`` is the one mutable thing: all clients take turns on it.

    ``splits`` maps split -> client -> tokenized examples, with the one key ``all`` for a split
    that the clients share; ``lora_reference`` is what LoRA with rank 8 would exchange with the
    same model, None where LoRA has no place in it by default. ``label_cells`` are the integers that
    a site's file writes for the classes, where it does.
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


def resolve_auto(config: RunConfig) -> RunConfig:
    """The config with what it leaves to the machine and the day, to be saved and sent.

    That is ``model.dtype``, ``cohort.max_tokens``, which decides who trains with whom, and, of
    chats, ``task.date``: a run goes on with what it began with, on whatever machine.
    """
    method = method_of(config)
    model = config.model.model_copy(update={"dtype": _base_model_spec(config.model, method).dtype})
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
    causal = model_class_of(config.task) == "causal"
    return tokens_that_fit(
        model_config,
        device=resolve_device(config.model.device),
        dtype=getattr(torch, config.model.dtype),
        outputs=model_config.get_text_config().vocab_size if causal else 0,
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
    outputs = output_names(config.task, label_names=data.label_names)
    model_config = load_model_config(
        config.model.name,
        revision=config.model.revision,
        num_labels=len(outputs) if model_class == "classification" else None,
    )
    _check_model_options(config.model, model_config, method, model_class=model_class)
    message = count_message(model_config, method, task=model_class)
    _check_size(message)
    _check_head(config, message)
    _check_cohort(config, method, population=_population(config, data))
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    pad_token_id = int(tokenizer.pad_token_id)
    task = build_task(
        config.task,
        source=config.data.source,
        tokenizer=tokenizer,
        label_names=data.label_names,
    )
    max_length = _max_length(config, model_config, method.adapter)
    texts = {split: data.holders(split) for split in SPLITS}
    texts["validation"] = _at_most(texts["validation"], config=config)
    with naming_refused_chats(config.data, config.task):
        splits = {
            split: Held(_tokenize(task, held.pool, max_length=max_length), held.parts)
            for split, held in texts.items()
        }
    _check_room(task, splits, positions=text_positions(model_config, method.adapter))
    model, model_notes = _model_and_notes(
        config, method, label_names=data.label_names, pad_token_id=pad_token_id
    )
    kinds = exchanged_kinds(model, method)
    initial = p.read_params(model, kinds)
    factors = _rate_factors(config.client, initial, kinds)
    training = build_training(config.client, factors)
    if method.subspace is not None:
        moved = replace(method.subspace, factors=moved_by(training))
        method = replace(method, subspace=moved)
    return Federation(
        model=model,
        tokenizer=tokenizer,
        task=task,
        method=method,
        label_names=data.label_names,
        splits=splits,
        training=training,
        loss=client_loss(
            task,
            num_classes=len(data.label_names),
            logit_adjustment=config.client.logit_adjustment,
        ),
        initial=ServerState(next_round=0, params=initial),
        kinds=kinds,
        lora_reference=_lora_reference(model_config, model_class),
        label_cells=data.label_cells,
        notes=(
            *data.notes,
            *_truncation_notes(splits, max_length=max_length),
            *revision_notes(config.model.name, config.model.revision),
            *model_notes,
            *_rate_notes(config.client, factors),
        ),
    )


def build_model(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> PeftModel:
    """The base model with the method's adapter as it starts: the same bits for the same config."""
    model, _ = _model_and_notes(config, method, label_names=label_names, pad_token_id=pad_token_id)
    return model


def _model_and_notes(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> tuple[PeftModel, list[str]]:
    base = _load_base(config, method, label_names=label_names, pad_token_id=pad_token_id)
    with random_stream(derive_seed(config.seed, "adapter")):
        model = put_into(base.model, method)
    return model, [*base.notes, *_random_layer_notes(model, base.drawn)]


def _load_base(
    config: RunConfig, method: Method, *, label_names: Sequence[str], pad_token_id: int
) -> LoadedModel:
    base = _base_model_spec(config.model, method)
    if model_class_of(config.task) == "causal":
        return load_causal_lm(base, pad_token_id=pad_token_id)
    return load_classifier(
        base,
        label_names=output_names(config.task, label_names=label_names),
        pad_token_id=pad_token_id,
        seed=derive_seed(config.seed, "head"),
    )


def _random_layer_notes(model: PeftModel, drawn: Sequence[str]) -> list[str]:
    """A line for every layer without pretrained weights that nothing trains or takes the place of.

    A layer that is trained whole, or inside a tuner's layer, has another name by now.
    """
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    untrained = [name for name in drawn if f"base_model.model.{name}" in frozen]
    layers = {name.rpartition(".")[0] for name in untrained}
    return [
        f"{layer} is not in the base model's weights: it is drawn at random and stays so "
        "(fedtt with tensorize_classifier = true trains a TT layer in its place)."
        for layer in sorted(layers)
    ]


def _model_options(config: ModelConfig) -> ModelOptions:
    """What of the ``[model]`` section goes through to transformers."""
    return ModelOptions(
        attention=config.attn_implementation,
        device_map=config.device_map,
        quantization=config.quantization,
        gradient_checkpointing=config.gradient_checkpointing,
    )


def _base_model_spec(config: ModelConfig, method: Method) -> BaseModelSpec:
    options = _model_options(config)
    return BaseModelSpec(
        name=config.name,
        revision=config.revision,
        dropout=config.dropout,
        dtype=choose_dtype(method, options, dtype=config.dtype, device=config.device),
        device=config.device,
        options=options,
    )


def _check_model_options(
    config: ModelConfig, model_config: PretrainedConfig, method: Method, *, model_class: str
) -> None:
    base = _base_model_spec(config, method)
    check_goes_with_options(method, base.options, dtype=base.dtype)
    check_options(base, model_config, task=model_class)


def _lora_reference(model_config: PretrainedConfig, model_class: str) -> MessageCost | None:
    reference = build_method(LORA_REFERENCE, task=model_class)
    try:
        return count_message(model_config, reference, task=model_class)
    except ModelError:
        # An architecture whose layers nobody named: the run's own method has its target_modules.
        return None


def _check_size(message: MessageCost) -> None:
    """Before the first allocation: every exchanged parameter is a float32 on this machine."""
    needed, memory = 4 * message.total_parameters, memory_bytes(torch.device("cpu"))
    if needed > memory:
        raise ModelError(
            "what the method trains is larger than the memory of this machine",
            where="method",
            got=f"{message.total_parameters:,} parameters, {needed / 2**30:,.0f} GiB",
            expected=f"at most {memory / 2**30:,.0f} GiB",
            fix="a smaller rank, bottleneck or number of tokens",
        )


def _check_head(config: RunConfig, message: MessageCost) -> None:
    if config.client.head_learning_rate and not message.exchanged_parameters.get("head"):
        raise ConfigError(
            "there is no head for a learning rate of its own",
            where="client.head_learning_rate",
            got=f"task.kind = {config.task.kind!r}, method {config.method.name!r}",
            expected="a method that trains a classification head",
            fix="leave client.head_learning_rate out",
        )


def _population(config: RunConfig, data: FederatedData) -> int:
    """How many clients the run has; a site holds the data of one of them."""
    return max(len(data.client_ids), len(config.sites.names or ()))


def _check_cohort(config: RunConfig, method: Method, *, population: int) -> None:
    size, fewest = config.cohort.size, method.aggregation.fewest
    check_cohort_size(size, population=population)
    if (size or population) < fewest:
        raise ConfigError(
            f"server.aggregation = {config.server.aggregation!r} takes more clients a round",
            where="server.aggregation",
            got=f"{size or population} clients a round",
            expected=f"at least {fewest}",
            fix='aggregation = "mean", or more clients a round (cohort.size)',
        )


def _tokenize(task: Task, texts: LabeledTexts, *, max_length: int) -> TokenizedTexts:
    """Piece by piece: tokens in lists, as tokenizers give them, take ten times the memory."""
    pieces = [
        task.tokenize(
            texts.select(range(start, min(start + TEXTS_AT_ONCE, len(texts)))),
            max_length=max_length,
        )
        for start in range(0, max(1, len(texts)), TEXTS_AT_ONCE)
    ]
    return map_large(concatenate(pieces) if len(pieces) > 1 else pieces[0])


def _at_most(validation: Held[LabeledTexts], *, config: RunConfig) -> Held[LabeledTexts]:
    """The same random part of every client's validation split in every validation of a run."""
    limit = config.evaluation.validation_examples
    if limit is None:
        return validation
    chosen = {}
    for client_id, examples in validation.items():
        stream = random.Random(derive_seed(config.data.split_seed, "validation", client_id))
        count = min(limit, len(examples))
        if examples.groups is None:
            part = stream.sample(range(len(examples)), count)
        else:  # at least one group, however large: a metric of groups needs whole ones
            part = sample_groups(examples.groups, count, stream) or sample_groups(
                examples.groups, len(examples), stream
            )
        chosen[client_id] = examples.select(sorted(part))
    return hold(chosen)


def _max_length(config: RunConfig, model_config: PretrainedConfig, adapter: PeftConfig) -> int:
    positions = text_positions(model_config, adapter)
    if positions is not None and config.model.max_length > positions:
        raise ConfigError(
            "longer texts than the model has positions for",
            where="model.max_length",
            got=config.model.max_length,
            expected=f"at most {positions}, the positions that {config.model.name} has for text",
        )
    return config.model.max_length


def _check_room(
    task: Task, splits: Mapping[str, Held[TokenizedTexts]], *, positions: int | None
) -> None:
    """Raise :class:`ConfigError` where an answer may need more positions than the model has."""
    pools = [splits[split].pool for split in ("validation", "test")]
    longest = max((int(p.prompt_lengths.max()) for p in pools if len(p)), default=0)
    if positions is not None and task.max_new_tokens and longest + task.max_new_tokens > positions:
        raise ConfigError(
            "prompts and the tokens to generate are more than the model has positions for",
            where="task.max_new_tokens",
            got=f"a prompt of {longest:,} tokens, and {task.max_new_tokens:,} new ones",
            expected=f"at most {positions:,} together",
            fix="lower task.max_new_tokens, or model.max_length",
        )


def _truncation_notes(splits: Mapping[str, Held[TokenizedTexts]], *, max_length: int) -> list[str]:
    cut: Counter[str] = Counter()
    for held in splits.values():
        parts = held.parts
        before = np.cumsum([0, *held.pool.truncated[parts.order]])
        counts = before[parts.offsets[1:]] - before[parts.offsets[:-1]]
        for index in np.flatnonzero(counts):
            cut[parts.names[index]] += int(counts[index])
    if len(cut) > MAX_NOTES:
        cut = Counter({f"{len(cut):,} clients": cut.total()})
    return [
        f"{client_id}: {count:,} texts are longer than model.max_length = {max_length} tokens "
        "and were cut there."
        for client_id, count in cut.items()
    ]
