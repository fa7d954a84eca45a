"""From a config to the objects of a run. The only place where the two meet."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from peft import PeftModel, get_peft_model
from transformers import PreTrainedTokenizerBase

from fedtt import params as p
from fedtt.config import FedTTConfig, LoRAConfig, MethodConfig, RunConfig
from fedtt.data import TokenizedTexts, tokenize
from fedtt.engine.cost import MessageCost, count_message
from fedtt.engine.data import build_data
from fedtt.errors import ConfigError
from fedtt.federated.cohort import sample_cohort
from fedtt.federated.methods import Method, fedtt, lora
from fedtt.federated.types import ServerState
from fedtt.models import (
    PEFT_TASK_TYPES,
    load_classifier,
    load_model_config,
    load_tokenizer,
)
from fedtt.peft import ParameterKind, exchanged_parameters
from fedtt.seeds import derive_seed, random_stream

SPLITS = ("train", "validation", "test")
LORA_REFERENCE = LoRAConfig(name="lora", rank=8)


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Everything a run needs. ``model`` is the one mutable thing: all clients take turns on it.

    ``splits`` maps split -> client -> tokenized examples; ``lora_reference`` is what LoRA with
    rank 8 would exchange with the same model.
    """

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase
    method: Method
    label_names: tuple[str, ...]
    splits: Mapping[str, Mapping[str, TokenizedTexts]]
    initial: ServerState
    kinds: Mapping[str, ParameterKind]
    lora_reference: MessageCost
    notes: tuple[str, ...]

    @property
    def population(self) -> tuple[str, ...]:
        """Every client's id, in the data's order."""
        return tuple(self.splits["train"])

    @property
    def exchanged_parameters(self) -> dict[str, int]:
        """Number of exchanged parameters by kind."""
        counts: Counter[str] = Counter()
        for name, kind in self.kinds.items():
            counts[str(kind)] += self.initial.params[name].numel()
        return dict(sorted(counts.items()))


def build_method(config: MethodConfig, *, task: str, server_learning_rate: float = 1.0) -> Method:
    """The method that a ``[method]`` section describes, for a model of that task."""
    builders: dict[type, Callable[..., Method]] = {FedTTConfig: fedtt, LoRAConfig: lora}
    options: dict[str, Any] = config.model_dump(exclude={"name"})
    return builders[type(config)](
        task_type=PEFT_TASK_TYPES[task], server_learning_rate=server_learning_rate, **options
    )


def build_federation(config: RunConfig) -> Federation:
    """All objects of the run that ``config`` describes, the model with its initial adapter.

    What can be wrong is checked in order of cost: model and adapter on the meta device, then the
    data, and the weights last. The same config gives the same initial parameters, bit for bit.
    """
    method = build_method(
        config.method, task="classification", server_learning_rate=config.server.learning_rate
    )
    data = build_data(config.data)
    model_config = load_model_config(
        config.model.name, revision=config.model.revision, num_labels=len(data.label_names)
    )
    count_message(model_config, method.adapter, task="classification")
    _check_cohort(config, population=len(data.clients))
    tokenizer = load_tokenizer(config.model.name, revision=config.model.revision)
    pad_token_id = int(tokenizer.pad_token_id)
    max_length = _max_length(config, positions=model_config.max_position_embeddings)
    splits = {
        split: {
            c.client_id: tokenize(getattr(c, split), tokenizer, max_length=max_length)
            for c in data.clients
        }
        for split in SPLITS
    }
    base = load_classifier(
        config.model.name,
        revision=config.model.revision,
        label_names=data.label_names,
        pad_token_id=pad_token_id,
        dtype=config.model.dtype,
        device=config.model.device,
        seed=derive_seed(config.seed, "head"),
    )
    with random_stream(derive_seed(config.seed, "adapter")):
        model = get_peft_model(base, deepcopy(method.adapter))
    kinds = exchanged_parameters(model)
    reference = build_method(LORA_REFERENCE, task="classification").adapter
    return Federation(
        model=model,
        tokenizer=tokenizer,
        method=method,
        label_names=data.label_names,
        splits=splits,
        initial=ServerState(next_round=0, params=p.read_params(model, kinds)),
        kinds=kinds,
        lora_reference=count_message(model_config, reference, task="classification"),
        notes=(*data.notes, *_truncation_notes(splits, max_length=max_length)),
    )


def _check_cohort(config: RunConfig, *, population: int) -> None:
    clients = [str(index) for index in range(population)]
    sample_cohort(clients, cohort_size=config.cohort.size, seed=config.seed, round_index=0)


def _max_length(config: RunConfig, *, positions: int | None) -> int:
    if positions is not None and config.model.max_length > positions:
        raise ConfigError(
            "longer texts than the model has positions for",
            where="model.max_length",
            got=config.model.max_length,
            expected=f"at most {positions} ({config.model.name})",
        )
    return config.model.max_length


def _truncation_notes(
    splits: Mapping[str, Mapping[str, TokenizedTexts]], *, max_length: int
) -> list[str]:
    cut: Counter[str] = Counter()
    for by_client in splits.values():
        for client_id, tokenized in by_client.items():
            cut[client_id] += tokenized.num_truncated
    return [
        f"{client_id}: {count:,} texts are longer than model.max_length = {max_length} tokens "
        "and were cut there."
        for client_id, count in cut.items()
        if count
    ]
