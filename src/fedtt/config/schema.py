"""What a run is made of, as frozen values; the TOML file has exactly these keys.

Unknown keys are refused. Paths are absolute by the time they are here (see ``config.load``).
"""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from fedtt.attacks import ATTACKS
from fedtt.config.attack_section import AttackConfig
from fedtt.config.client_section import ClientConfig
from fedtt.config.cohort_section import CohortConfig
from fedtt.config.data_section import DataConfig
from fedtt.config.evaluation_section import EvaluationConfig
from fedtt.config.method_section import MethodConfig
from fedtt.config.model_section import ModelConfig
from fedtt.config.partition_section import PartitionConfig
from fedtt.config.privacy_section import PrivacyConfig
from fedtt.config.server_section import MOST_WEIGHT, ServerConfig
from fedtt.config.sites_section import SitesConfig
from fedtt.config.task_section import KINDS_OF_SOURCES, TaskConfig
from fedtt.config.wire_section import WireConfig
from fedtt.data.named.catalog import TASKS as NAMED_TASKS
from fedtt.data.named.named_task import NamedTask
from fedtt.federated.aggregate import MEAN
from fedtt.federated.wire.codec import CODECS
from fedtt.section import Rounds, Section, Seed
from fedtt.trackers import TRACKERS


class TrackConfig(Section):
    """``[track]``: who else hears of the run; changes nothing in it."""

    to: tuple[Annotated[str, AfterValidator(TRACKERS.check)], ...] = Field(
        (),
        description="`tensorboard`, `mlflow`, `wandb`, or what another package registered: each an "
        "extra of its own name; left out: nobody",
    )


class RunConfig(Section):
    """A whole run."""

    seed: Seed = Field(
        0, description="root of every random stream: head, adapter, cohorts, batches, dropout"
    )
    rounds: Rounds = Field(description="federated rounds")
    model: ModelConfig
    data: DataConfig
    task: TaskConfig = TaskConfig()
    partition: PartitionConfig | None = None
    method: MethodConfig
    cohort: CohortConfig = CohortConfig()
    client: ClientConfig = ClientConfig()
    server: ServerConfig = ServerConfig()
    wire: WireConfig = WireConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    attack: AttackConfig | None = None
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
    def _feedback_finds_its_numbers_again(self) -> Self:
        if self.wire.error_feedback and self.method.subspace is not None:
            raise ValueError(
                "wire.error_feedback does not go with method.subspace: its numbers move other "
                "parameters when it is drawn anew, and what they owe would go astray"
            )
        return self

    @model_validator(mode="after")
    def _privacy_bounds_every_client(self) -> Self:
        if self.privacy.client is None:
            return self
        if self.server.weighting != "uniform":
            raise ValueError(
                f"privacy.client does not go with server.weighting = {self.server.weighting!r}: a "
                "client that says it has many examples would change the model by more than the "
                "noise hides; take server.weighting = 'uniform'"
            )
        if self.server.update_norm is not None:
            raise ValueError(
                "privacy.client does not go with server.update_norm = "
                f"{self.server.update_norm!r}: its clipping_norm is the bound that the noise is "
                "made for"
            )
        if self.wire.error_feedback:
            raise ValueError(
                "privacy.client does not go with wire.error_feedback: the server clips what it is "
                "sent, and a client that does not know by how much would owe the wrong numbers"
            )
        if self.evaluation.alone:
            raise ValueError(
                "privacy.client does not go with evaluation.alone: a client that is trained alone "
                "is trained without noise"
            )
        return self

    @model_validator(mode="after")
    def _privacy_bounds_every_example(self) -> Self:
        if self.privacy.example is None:
            return self
        if self.client.logit_adjustment:
            raise ValueError(
                "privacy.example does not go with client.logit_adjustment: an example's label "
                "would change the loss of all others of its client, which clipping does not bound"
            )
        if self.evaluation.alone:
            raise ValueError(
                "privacy.example does not go with evaluation.alone: to train every client once "
                "more spends its budget once more"
            )
        return self

    @model_validator(mode="after")
    def _attack_is_a_simulation(self) -> Self:
        if self.attack is None:
            return self
        if self.sites.names is not None:
            raise ValueError("[attack] is a simulation, and sites.names are real ones")
        if self.evaluation.alone:
            raise ValueError(
                "[attack] does not go with evaluation.alone: a client alone has nobody to attack"
            )
        return self

    @model_validator(mode="after")
    def _sums_that_say_nothing_of_one(self) -> Self:
        if self.privacy.secure_aggregation is None:
            return self
        name = "privacy.secure_aggregation does not go with"
        if self.privacy.client is not None:
            raise ValueError(
                f"{name} privacy.client: the server clips each client's update and adds the noise, "
                "and cannot clip what it does not see"
            )
        if self.server.update_norm is not None:
            raise ValueError(
                f"{name} server.update_norm: the server cannot shorten what it does not see"
            )
        if self.server.weight_cap not in (MOST_WEIGHT, 1.0):
            raise ValueError(
                f"{name} server.weight_cap: the server does not see who has which weight; "
                "secure_aggregation.most_examples bounds it, or server.weighting = 'uniform'"
            )
        if CODECS[self.wire.codec].lossy:
            raise ValueError(
                f"{name} wire.codec = {self.wire.codec!r}: a masked update is uniform words that "
                "nothing makes smaller, and a sum of scales and levels is no sum of updates; take "
                "wire.codec = 'plain'"
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
            f"attack.kind {self.attack and self.attack.kind!r}": self.attack is not None
            and ATTACKS[self.attack.kind].poisoned_by is not None,
        }
        unfit = [key for key, used in needing.items() if used]
        if unfit:
            raise ValueError(
                f"{' and '.join(unfit)} need classes, and task.kind = {self.task.kind!r} has none"
            )
        return self
