"""What a run is made of, as frozen values; the TOML file has exactly these keys.

Unknown keys are refused. Paths are absolute by the time they are here (see ``config.load``).
"""

import datetime
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from fedtt.config.method_section import MethodConfig
from fedtt.data.named.catalog import SILOS, SOURCES
from fedtt.data.named.catalog import TASKS as NAMED_TASKS
from fedtt.data.named.named_task import NamedTask
from fedtt.federated.aggregate import AGGREGATIONS, MEAN
from fedtt.federated.wire.codec import CODECS, PLAIN_CODEC
from fedtt.section import (
    BatchSize,
    Clients,
    Examples,
    Fraction,
    Passes,
    Positive,
    Probability,
    Rate,
    Rounds,
    RoundsOrNone,
    Seconds,
    Section,
    Seed,
    Share,
    Strength,
    Tokens,
)
from fedtt.task_kinds import TASK_KINDS
from fedtt.trackers import TRACKERS

NAMES = ", ".join(SOURCES)
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

Attention = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
LabelValue = Annotated[int, Field(ge=-(10**15), le=10**15)]
Device = Annotated[int, Field(ge=0, le=65_535)]
DeviceMap = Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, Device | str]


class ModelConfig(Section):
    """``[model]``: the base model."""

    name: str = Field(description="alias (minilm, smollm2), hub id, directory, or .gguf file")
    revision: str | None = Field(None, description="hub revision: branch, tag or commit")
    max_length: Tokens = Field(128, description="tokens; longer texts are cut, and counted")
    dropout: Probability | None = Field(None, description="of the base model; left out: its own")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the processor multiplies it faster, else float32"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps ...")
    device_map: DeviceMap | None = Field(
        None, description="spreads the layers over devices; or a table of module names"
    )
    attn_implementation: Attention | None = Field(
        None, description="left out: transformers' choice"
    )
    quantization: Literal["8bit", "4bit"] | None = Field(
        None, description="rounds the frozen base weights, with bitsandbytes"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute each block again going backward: less memory, more time"
    )


class DataConfig(Section):
    """``[data]``: either a named source or a file."""

    source: str | None = Field(None, description="a named task; fedtt data list shows them")
    directory: Path | None = Field(
        None, description="where the files of source are; left out: the Hugging Face hub"
    )
    path: Path | None = Field(None, description=".csv, .jsonl or .parquet")
    test_path: Path | None = Field(
        None, description="same columns as path; the one test set that all clients share"
    )
    examples: Examples | None = Field(
        None, description="use a random part of so many training examples"
    )
    min_client_examples: Examples = Field(
        1, description="the data's own clients with fewer are left out, and counted"
    )
    text_column: str = "text"
    pair_column: str | None = Field(None, description="the second text, where examples are pairs")
    label_column: str = "label"
    client_column: str = Field("client", description="used where the file has it")
    label_names: tuple[str, ...] | None = Field(
        None, description="names of the classes in order; left out: the sorted distinct labels"
    )
    label_values: tuple[LabelValue | str, ...] | None = Field(
        None,
        description="what stands in the label column for each of label_names; left out: the names, "
        "or as many integers, in ascending order",
    )
    validation: Fraction = Field(0.1, description="share of each client's distinct texts")
    test: Fraction = Field(0.15, description="share of each client's distinct texts")
    split_seed: Seed = Field(0, description="same splits for every run seed")

    @field_validator("source")
    @classmethod
    def _known_source(cls, name: str | None) -> str | None:
        if name is not None and name not in SOURCES:
            close = get_close_matches(name.casefold(), SOURCES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {NAMES}"
            raise ValueError(f"{hint} (fedtt data list shows all; a file of yours goes into path)")
        return name

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.path is None):
            raise ValueError('give either source, such as "sst2", or path = "FILE"')
        if self.path is None and (self.test_path or self.pair_column):
            raise ValueError("test_path and pair_column go with path, not with source")
        if self.path is None and self.label_names:
            raise ValueError("label_names goes with path; a source has names of its own")
        if self.label_values and len(self.label_values) != len(self.label_names or ()):
            raise ValueError("label_values goes with label_names: one value for each, in order")
        if self.directory and self.source in (None, SILOS):
            raise ValueError("directory goes with the name of a task, such as source = 'sst2'")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        return self


# kind of a named source -> the kinds of [task] that it is for, the first where none is given
KINDS_OF_SOURCES: Mapping[str, tuple[str, ...]] = {
    "classification": ("classification", "label-words"),
    "regression": ("regression",),
    "generation": ("generation",),
}


class TaskConfig(Section):
    """``[task]``: what the model learns."""

    kind: Annotated[str, AfterValidator(TASK_KINDS.check)] = Field(
        "classification", description="default: that of the named source"
    )
    prompt: str | None = Field(
        None,
        description="label-words: text with {text} and, of pairs, {pair} (default: that of the "
        "named source); generation: a column, or text with columns in braces (default: prompt)",
    )
    words: tuple[str, ...] | None = Field(
        None,
        description="label-words: one word of one token for each class, in order (default: those "
        "of the named source)",
    )
    completion: str | None = Field(
        None, description="generation: column, or column.key (default: completion)"
    )
    messages: str | None = Field(
        None, description="generation: column of chats, in place of prompt and completion"
    )
    date: datetime.date | None = Field(
        None,
        description="generation with messages: the day that a chat template writes "
        "(default: the day on which the run begins)",
    )
    answers: Literal["squad", "drop"] | None = Field(
        None, description="generation: also generate, and score by this rule"
    )
    max_new_tokens: Tokens | None = Field(
        None, description="generation with answers: tokens to generate (default: 32)"
    )

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        given = {key for key in type(self).model_fields if getattr(self, key) is not None}
        unfit = given - {"kind"} - TASK_KINDS[self.kind].keys
        if unfit:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(sorted(unfit))}")
        if self.messages is not None and given & {"prompt", "completion", "answers"}:
            raise ValueError("messages take the place of prompt, completion and answers")
        if self.date is not None and self.messages is None:
            raise ValueError("date is what a chat template writes, and goes with messages")
        return self

    @property
    def has_classes(self) -> bool:
        """Whether examples are labeled with classes."""
        return TASK_KINDS[self.kind].reads == "labels"


# kind -> the keys that it needs; min_examples and seed go with every kind
PARTITION_KEYS: Mapping[str, frozenset[str]] = {
    "iid": frozenset({"clients"}),
    "dirichlet": frozenset({"clients", "alpha"}),
    "labels": frozenset({"proportions"}),
    "quantity": frozenset({"clients", "alpha"}),
    "column": frozenset({"column"}),
}


class PartitionConfig(Section):
    """``[partition]``: one pool, its training examples dealt out to clients."""

    kind: Literal["iid", "dirichlet", "labels", "quantity", "column"]
    clients: Clients | None = Field(None, description="iid, dirichlet, quantity: how many")
    alpha: Positive | None = Field(
        None, description="concentration: dirichlet, of labels; quantity, of client sizes"
    )
    proportions: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=1)] | None = Field(
        None, description="labels: a row of label proportions for each client"
    )
    column: str | None = Field(None, description="column: who holds the row")
    min_examples: Examples = Field(2, description="training examples each client has at least")
    seed: Seed = Field(0, description="same clients for every run seed")

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        needed = PARTITION_KEYS[self.kind]
        optional = frozenset().union(*PARTITION_KEYS.values())
        given = {key for key in optional if getattr(self, key) is not None}
        if needed - given:
            raise ValueError(f"kind {self.kind!r} needs {' and '.join(sorted(needed - given))}")
        if given - needed:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(sorted(given - needed))}")
        return self

    @model_validator(mode="after")
    def _rows_of_proportions(self) -> Self:
        rows = self.proportions or ()
        for index, row in enumerate(rows):
            if abs(sum(row) - 1) > 1e-6 or len(row) != len(rows[0]):
                raise ValueError(
                    f"row {index + 1} of proportions is {list(row)}: every row has one "
                    "proportion for each class, and they sum to 1"
                )
        return self


def _count_or_auto(value: object, read: ValidatorFunctionWrapHandler) -> object:
    """A union of types would refuse a value with one message for each of them."""
    try:
        return read(value)
    except ValidationError:
        raise ValueError("input should be a whole number, 1 or more, or 'auto'") from None


class CohortConfig(Section):
    """``[cohort]``: who takes part in a round."""

    size: Clients | None = Field(None, description="clients a round; left out: everyone")
    dropout: Probability = Field(
        0.0, description="probability that a client which was called never answers"
    )
    batched: Literal["auto", "off"] = Field(
        "auto",
        description="auto: clients train together, in one step, where their method can; "
        "off: one by one; the results differ by rounding only",
    )
    max_tokens: Annotated[
        Annotated[int, Field(ge=1, le=10**9, strict=True)] | Literal["auto"],
        WrapValidator(_count_or_auto),
    ] = Field(
        "auto", description="tokens, padding included, of a forward of clients that train together"
    )


class ClientConfig(Section):
    """``[client]``: local training in one round."""

    steps: Passes | None = Field(None, description="local steps a round; or epochs")
    epochs: Passes | None = Field(None, description="local passes a round (default 1)")
    batch_size: BatchSize = 16
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Rate = 5e-3
    head_learning_rate: Rate | None = Field(
        None, description="of the classification head; left out: learning_rate"
    )
    zero_start_factor: Positive = Field(
        1.0,
        description="of the learning rate of what starts at zero, the head excepted: B of LoRA, "
        "the last core of a TT adapter's Up (as LoRA+, arXiv 2402.12354)",
    )
    decay: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="of the learning rate, over the rounds"
    )
    warmup_rounds: RoundsOrNone = 0
    weight_decay: Strength = 0.01
    max_grad_norm: Strength = Field(1.0, description="of each step's gradient; 0: no clipping")
    proximal: Strength = Field(0.0, description="FedProx's mu; 0: none")
    logit_adjustment: Strength = Field(
        0.0, description="strength of the client's own log label prior in its loss; 1 is usual"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        return self


class ServerConfig(Section):
    """``[server]``: what the server does with the updates."""

    optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = "fedavg"
    learning_rate: Rate = 1.0
    momentum: Probability = Field(0.9, description="beta 1 of fedavgm, fedadam, fedyogi")
    beta2: Probability = Field(0.99, description="of fedadam and fedyogi")
    adaptivity: Positive = Field(1e-3, description="tau of fedadam and fedyogi")
    aggregation: Annotated[str, AfterValidator(AGGREGATIONS.check)] = Field(
        MEAN,
        description="median and trimmed-mean bear clients that send anything at all; both take 3 "
        "clients a round",
    )
    trim: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="share that trimmed-mean drops at each end; at least one client"
    )
    weighting: Literal["examples", "uniform"] = Field(
        "examples", description="how much each client's update counts in the mean"
    )


class WireConfig(Section):
    """``[wire]``: how updates travel."""

    codec: str = Field(PLAIN_CODEC, description="what the clients' updates are encoded by")
    block: Annotated[int, Field(ge=1, le=65_536)] = Field(
        128, description="numbers that share a scale: of int8, int4, int2 and sign"
    )
    rounding: Literal["stochastic", "nearest"] | None = Field(
        None,
        description="stochastic: up or down by chance, right in the mean; left out: that, or with "
        "error_feedback nearest",
    )
    deflate: bool = Field(
        default=True, description="make it smaller still, by zlib; of every codec but plain"
    )
    error_feedback: bool = Field(
        default=False, description="a client adds what its last update lost to the next one"
    )

    @field_validator("codec")
    @classmethod
    def _known_codec(cls, name: str) -> str:
        return CODECS.check(name)

    @model_validator(mode="after")
    def _nothing_is_lost_for_good(self) -> Self:
        row, spelled = CODECS[self.codec], f"codec = {self.codec!r}"
        if self.error_feedback and not row.lossy:
            raise ValueError(f"{spelled} loses nothing that error_feedback could send later")
        if row.coarse and not self.error_feedback and not self.is_stochastic:
            raise ValueError(
                f"{spelled} with rounding = {self.rounding!r} loses the same part of every update, "
                "and no mean brings it back; leave rounding out, or take error_feedback = true"
            )
        if row.coarse and self.error_feedback and self.is_stochastic:
            raise ValueError(
                f"{spelled} by chance adds more noise than there is update, and error_feedback "
                "would send the noise again, and more with it; leave rounding out"
            )
        return self

    @property
    def is_stochastic(self) -> bool:
        """Whether numbers are rounded by chance."""
        default = "nearest" if self.error_feedback else "stochastic"
        return (self.rounding or default) == "stochastic"


class EvaluationConfig(Section):
    """``[evaluation]``: what is measured, and when."""

    every: RoundsOrNone = Field(1, description="rounds between validations; 0: never")
    batch_size: BatchSize = 64
    validation_examples: Examples | None = Field(
        None, description="at most so many a client and validation; the test split is always whole"
    )
    alone: bool | None = Field(
        None,
        description="also train each client alone for the same steps, as a baseline; "
        "left out: where everyone takes part in every round and there are at most 10 clients",
    )
    before: bool = Field(
        default=True, description="measure the test split before training too, for comparison"
    )
    test: bool = Field(
        default=True,
        description="measure the test split; false: nothing that the run computes or saves "
        "depends on it, as in the choice of hyper-parameters",
    )

    @model_validator(mode="after")
    def _alone_needs_test(self) -> Self:
        if self.alone and not self.test:
            raise ValueError("alone is measured on the test split, and test = false")
        return self


class SitesConfig(Section):
    """``[sites]``: machines that each hold one client's data; for ``fedtt serve``."""

    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="every site that may join, each one client, in a fixed order"
    )
    min_replies: Clients | None = Field(
        None, description="a round counts with so many replies; left out: one of each called"
    )
    deadline: Seconds = Field(
        600.0, description="seconds for a round; who has not answered by then is left out"
    )
    patience: Seconds = Field(
        600.0, description="seconds to wait for sites to join, at the start for all of them"
    )

    @field_validator("names")
    @classmethod
    def _names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if not SITE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no site's name: at most 63 letters, digits, - and _")
        if names is not None and len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        return names


class TrackConfig(Section):
    """``[track]``: who else hears of the run; changes nothing in it."""

    to: tuple[Annotated[str, AfterValidator(TRACKERS.check)], ...] = Field(
        (), description="trackers by name, of packages that registered them"
    )


class RunConfig(Section):
    """A whole run."""

    seed: Seed = 0
    rounds: Rounds
    model: ModelConfig
    data: DataConfig
    task: TaskConfig = TaskConfig()
    partition: PartitionConfig | None = None
    method: MethodConfig
    cohort: CohortConfig = CohortConfig()
    client: ClientConfig = ClientConfig()
    server: ServerConfig = ServerConfig()
    wire: WireConfig = WireConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    sites: SitesConfig = SitesConfig()
    track: TrackConfig = TrackConfig()

    @property
    def _named(self) -> NamedTask | None:
        return NAMED_TASKS.get(self.data.source or "")

    @model_validator(mode="before")
    @classmethod
    def _kind_of_the_source(cls, table: object) -> object:
        """A named source says by itself what a model learns of it."""
        if not isinstance(table, Mapping):
            return table
        data, task = table.get("data"), table.get("task", {})
        if not isinstance(data, Mapping) or not isinstance(task, Mapping) or "kind" in task:
            return table
        named = NAMED_TASKS.get(str(data.get("source")))
        return (
            {**table, "task": {"kind": KINDS_OF_SOURCES[named.kind][0], **task}} if named else table
        )

    @model_validator(mode="after")
    def _task_of_the_source(self) -> Self:
        kinds = KINDS_OF_SOURCES[self._named.kind if self._named else "classification"]
        if self.data.source is not None and self.task.kind not in kinds:
            raise ValueError(
                f"data.source = {self.data.source!r} is for task.kind = "
                f"{' or '.join(map(repr, kinds))}, and it is {self.task.kind!r}"
            )
        keys = ("prompt", "completion", "messages", "answers")
        own = [key for key in keys if getattr(self.task, key) is not None]
        if self._named and self.task.kind == "generation" and own:
            raise ValueError(
                f"task.{' and task.'.join(own)} go with data.path: {self.data.source!r} has its own"
            )
        return self

    @model_validator(mode="after")
    def _words_of_the_classes(self) -> Self:
        if self.task.kind == "label-words":
            named = self._named
            own = {"prompt": named and named.prompt, "words": named and named.verbalizer}
            missing = [key for key, value in own.items() if not (getattr(self.task, key) or value)]
            if missing:
                raise ValueError(f"task.kind = 'label-words' needs {' and '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _feedback_finds_its_clients_again(self) -> Self:
        if self.wire.error_feedback and self.cohort.size is not None:
            raise ValueError(
                "wire.error_feedback is for silos, which take part in every round: a client that "
                "is seldom called sends what it owes when that is long out of date; leave "
                "cohort.size out, or error_feedback"
            )
        return self

    @model_validator(mode="after")
    def _codec_fits_the_aggregation(self) -> Self:
        codec, aggregation = self.wire.codec, self.server.aggregation
        if CODECS[codec].coarse and aggregation != MEAN:
            raise ValueError(
                f"wire.codec = {codec!r} does not go with server.aggregation = {aggregation!r}: of "
                "few levels only the mean over clients is right, and their middle is the level "
                "nearest to the number, or none of it; take int4, int8 or bfloat16"
            )
        return self

    @model_validator(mode="after")
    def _classes_where_they_are_needed(self) -> Self:
        if self.task.has_classes:
            return self
        by_label = self.partition is not None and self.partition.kind in {"dirichlet", "labels"}
        binned = self._named is not None and self._named.kind == "regression"
        needing = {
            "client.logit_adjustment": bool(self.client.logit_adjustment),
            f"partition.kind {self.partition and self.partition.kind!r}": by_label and not binned,
            "data.label_names": self.data.label_names is not None,
        }
        unfit = [key for key, used in needing.items() if used]
        if unfit:
            raise ValueError(
                f"{' and '.join(unfit)} need classes, and task.kind = {self.task.kind!r} has none"
            )
        return self
