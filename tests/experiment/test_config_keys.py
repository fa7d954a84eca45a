"""No key of a configuration is ignored: changing any of them changes what a run does."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import save_tiny_bert, sentence

from fedtt.config import (
    AttackConfig,
    ClientConfig,
    CohortConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    PartitionConfig,
    PrivacyConfig,
    RunConfig,
    ServerConfig,
    SitesConfig,
    TaskConfig,
    TrackConfig,
    WireConfig,
    parse_config,
)
from fedtt.engine import build, build_base_model
from fedtt.engine.build import build_federation
from fedtt.experiment import create_run, run_experiment
from fedtt.federated.wire.codec import CODECS
from fedtt.models import BaseModelSpec, load_classifier
from fedtt.section import Section

Settings = dict[str, Any]
SIZES = {"north": 24, "south": 45, "west": 33}
SGD = {"client.optimizer": "sgd", "client.learning_rate": 0.5}
POOL = {"partition.kind": "dirichlet", "partition.clients": 3, "partition.alpha": 0.5}

EVEN, SKEWED = [[0.8, 0.2], [0.5, 0.5]], [[0.95, 0.05], [0.4, 0.6]]

# Key -> the settings beside which it matters, and its value there before and after.
CHANGES: dict[str, tuple[Settings, Any, Any]] = {
    "seed": ({}, 0, 1),
    "rounds": ({}, 2, 3),
    "model.name": ({}, "{tiny}", "{other}"),
    "model.max_length": ({}, 16, 4),
    "model.dropout": ({}, None, 0.5),
    "model.dtype": ({}, "float32", "bfloat16"),
    "model.gradient_checkpointing": ({"model.dropout": 0.0}, False, True),
    "data.path": ({}, "{data}", "{more}"),
    "data.test_path": ({}, None, "{more}"),
    "data.examples": ({}, None, 60),
    "data.min_client_examples": ({}, 1, 30),
    "data.text_column": ({}, "text", "reply"),
    "data.pair_column": ({}, None, "reply"),
    "data.label_column": ({}, "label", "tone"),
    "data.client_column": ({}, "client", "shop"),
    "data.label_names": ({}, None, ["bad", "fair", "good"]),
    "data.label_values": ({"data.label_names": ["no", "yes"]}, ["bad", "good"], ["good", "bad"]),
    "data.validation": ({}, 0.2, 0.3),
    "data.test": ({}, 0.2, 0.3),
    "data.split_seed": ({}, 0, 1),
    "partition.kind": ({**POOL, "partition.alpha": 5.0}, "dirichlet", "quantity"),
    "partition.clients": (POOL, 3, 2),
    "partition.alpha": (POOL, 0.5, 5.0),
    "partition.proportions": ({"partition.kind": "labels"}, EVEN, SKEWED),
    "partition.column": ({"partition.kind": "column"}, "client", "shop"),
    "partition.min_examples": ({**POOL, "partition.kind": "quantity"}, 2, 18),
    "partition.seed": (POOL, 0, 1),
    "cohort.size": ({}, None, 2),
    "cohort.dropout": ({}, 0.0, 0.6),
    "cohort.batched": ({}, "auto", "off"),
    "cohort.max_tokens": ({}, "auto", 8),
    "client.steps": ({}, 2, 3),
    "client.epochs": ({"client.steps": None}, 1, 2),
    "client.batch_size": ({}, 8, 4),
    "client.optimizer": ({}, "adamw", "sgd"),
    "client.optimizer_state": ({}, "fresh", "kept"),
    "client.learning_rate": ({}, 1e-2, 2e-2),
    "client.head_learning_rate": ({}, None, 2e-2),
    "client.zero_start_factor": ({}, 1.0, 4.0),
    "client.decay": ({}, "constant", "linear"),
    "client.warmup_rounds": ({}, 0, 1),
    "client.weight_decay": ({}, 0.01, 0.5),
    "client.max_grad_norm": (SGD, 1e-3, 0),
    "client.proximal": ({}, 0.0, 1.0),
    "client.logit_adjustment": ({}, 0.0, 1.0),
    "server.optimizer": ({}, "fedavg", "fedavgm"),
    "server.learning_rate": ({}, 1.0, 0.5),
    "server.momentum": ({"server.optimizer": "fedavgm"}, 0.9, 0.5),
    "server.beta2": ({"server.optimizer": "fedadam"}, 0.99, 0.5),
    "server.adaptivity": ({"server.optimizer": "fedadam"}, 1e-3, 1e-1),
    "server.aggregation": ({}, "mean", "median"),
    # Of six clients a tenth is nobody, and one goes all the same; two fifths are two.
    "server.trim": (
        {"server.aggregation": "trimmed-mean", "partition.kind": "iid", "partition.clients": 6},
        0.1,
        0.4,
    ),
    "server.weighting": ({}, "examples", "uniform"),
    "server.weight_cap": ({}, 0.5, 0.34),
    "server.update_norm": ({}, None, "median"),
    "wire.codec": ({}, "plain", "toy-half"),
    "wire.downlink": ({}, "plain", "int8"),
    "wire.block": ({"wire.codec": "int4"}, 128, 32),
    "wire.rounding": ({"wire.codec": "int4"}, "stochastic", "nearest"),
    "wire.deflate": ({"wire.codec": "int4"}, True, False),
    "wire.error_feedback": ({"wire.codec": "sign"}, False, True),
    "evaluation.every": ({}, 1, 2),
    "evaluation.batch_size": ({}, 64, 4),
    "evaluation.validation_examples": ({}, None, 1),
    "evaluation.alone": ({}, False, True),
    "evaluation.before": ({}, True, False),
    "evaluation.test": ({}, True, False),
}
# What the tests have no second one of; how far these two of the model get is checked below.
# The tasks' keys are those of a causal model: tests/experiment/test_causal_run.py.
TASK_KEYS = {f"task.{key}" for key in TaskConfig.model_fields}
# What concerns machines only: tests/sites.
SITES_KEYS = {f"sites.{key}" for key in SitesConfig.model_fields}
ELSEWHERE = {
    *TASK_KEYS,
    *SITES_KEYS,
    "track.to",  # tests/extending
    "privacy.client",  # tests/privacy
    "privacy.example",
    "privacy.secure_aggregation",  # tests/secure
    *(f"attack.{key}" for key in AttackConfig.model_fields),  # tests/attacks
    "data.source",
    "data.directory",
    "model.revision",
    "model.device",
    # tests/models has these: on one CPU, in float32, they change nothing but roundings.
    "model.device_map",
    "model.attn_implementation",
    "model.quantization",
}
SECTIONS: dict[str, type[Section]] = {
    "model": ModelConfig,
    "data": DataConfig,
    "task": TaskConfig,
    "partition": PartitionConfig,
    "cohort": CohortConfig,
    "client": ClientConfig,
    "server": ServerConfig,
    "wire": WireConfig,
    "privacy": PrivacyConfig,
    "attack": AttackConfig,
    "evaluation": EvaluationConfig,
    "sites": SitesConfig,
    "track": TrackConfig,
}


@pytest.fixture(autouse=True, scope="module")
def another_codec() -> Iterator[None]:
    with CODECS.having("toy-half", "tests.extending.toy_codec:ROW"):
        yield


def test_every_key_is_tested() -> None:
    keys = {f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields}
    own = set(RunConfig.model_fields) - set(SECTIONS) - {"method"}  # tests/engine has its keys
    assert set(CHANGES) | ELSEWHERE == keys | own


@pytest.fixture(scope="module")
def places(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the settings name in braces."""
    folder = tmp_path_factory.mktemp("keys")
    other = save_tiny_bert(folder / "other", seed=8)
    files = {"data": write(folder / "a.jsonl", seed=0), "more": write(folder / "b.jsonl", seed=1)}
    paths = {"tiny": tiny_bert, "other": other, **files}
    return {name: str(path) for name, path in paths.items()}


def write(path: Path, *, seed: int) -> Path:
    """Clients of unequal size, a third of whose labels are good; every column has a second one."""
    stream, rows = random.Random(seed), []
    for client, count in SIZES.items():
        for index in range(count):
            label = "bad" if index % 3 else "good"
            rows.append(
                {
                    "text": f"{sentence(label, stream)} {client} {seed} {index}",
                    "label": label,
                    "client": client,
                    "reply": sentence(label, stream),
                    "tone": stream.choice(["warm", "cold"]),
                    "shop": f"shop{stream.randrange(2)}",
                }
            )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make(settings: Settings, places: dict[str, str]) -> RunConfig:
    base: Settings = {
        "rounds": 2,
        "model.name": "{tiny}",
        "model.max_length": 16,
        "model.device": "cpu",
        "data.path": "{data}",
        "data.test": 0.2,
        "data.validation": 0.2,
        "method.name": "fedtt",
        "method.rank": 2,
        "method.bottleneck": 8,
        "client.steps": 2,
        "client.batch_size": 8,
        "client.learning_rate": 1e-2,
        "evaluation.alone": False,
    }
    table: dict[str, Any] = {}
    for key, value in (base | settings).items():
        section, _, name = key.rpartition(".")
        if value is not None:
            filled = value.format(**places) if isinstance(value, str) else value
            (table.setdefault(section, {}) if section else table)[name] = filled
    return parse_config(table, where="the test")


def outcome(config: RunConfig, path: Path) -> dict[str, Any]:
    """All that a run computes: measurements, losses, bytes, and how often it asked the model."""
    directory = create_run(path, config, overwrite=False)
    federation = build_federation(config)
    calls = []
    federation.model.register_forward_hook(lambda *_: calls.append(None))
    block = federation.model.get_submodule("base_model.model.bert.encoder.layer.0")
    blocks: list[None] = []
    block.attention.register_forward_hook(lambda *_: blocks.append(None))
    summary = run_experiment(config, federation, directory, notify=lambda _event: None)
    # Not what merely repeats the configuration.
    apart = {"method", "model", "seed", "rounds", "seconds", "notes", "environment"}
    records = [
        {key: r[key] for key in ("loss", "validation", "clients", "dropped")}
        for r in directory.rounds()
    ]
    return {
        **{key: value for key, value in summary.items() if key not in apart},
        "records": records,
        "calls": len(calls),
        "blocks": len(blocks),
    }


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, Any]]:
    """Outcomes of runs that several keys start from, by their configuration."""
    return {}


@pytest.mark.parametrize("key", CHANGES)
def test_changing_a_key_changes_the_run(
    key: str, places: dict[str, str], known: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    beside, before, after = CHANGES[key]
    first, second = (make({**beside, key: value}, places) for value in (before, after))
    assert first != second
    if repr(first) not in known:
        known[repr(first)] = outcome(first, tmp_path / "first")
    one, other = known[repr(first)], outcome(second, tmp_path / "second")
    if key == "evaluation.batch_size":  # the same measurements, up to rounding, in more batches
        assert one["calls"] < other["calls"]
        assert one["test"]["loss"] == pytest.approx(other["test"]["loss"], abs=1e-5)
    elif key == "model.gradient_checkpointing":
        assert one["blocks"] < other["blocks"]  # computed again going backward
        assert one["test"]["loss"] == pytest.approx(other["test"]["loss"], abs=1e-4)
    else:
        assert one != other


def test_nothing_but_keys_changes_a_run(places: dict[str, str], tmp_path: Path) -> None:
    config = make({"evaluation.alone": True}, places)
    assert outcome(config, tmp_path / "first") == outcome(config, tmp_path / "second")


def test_revision_and_device_reach_what_loads_the_model(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def spy(name: str) -> Callable[..., Any]:
        load = getattr(build, name)

        def call(place: str, **options: Any) -> Any:
            seen[name] = options["revision"]
            return load(place, **{**options, "revision": None})

        return call

    def load_base(base: BaseModelSpec, **options: Any) -> Any:
        seen["load_classifier"], seen["device"] = base.revision or "", base.device
        return load_classifier(replace(base, revision=None), **options)

    for name in ("load_model_config", "load_tokenizer"):
        monkeypatch.setattr(build, name, spy(name))
    monkeypatch.setattr(build_base_model, "load_classifier", load_base)
    build_federation(make({"model.revision": "v2"}, places))
    assert seen.pop("device") == "cpu"
    assert seen == dict.fromkeys(("load_model_config", "load_tokenizer", "load_classifier"), "v2")


@pytest.mark.parametrize("kind", ["plain", "ranks", "defense"])
def test_a_client_alone_is_a_federation_of_one(
    kind: str, places: dict[str, str], tmp_path: Path
) -> None:
    """Measured on its own test split, after as many rounds, of its own rank, with no defense."""
    flexlora = {"method.name": "flexlora", "method.bottleneck": None, "method.rank": 4}
    many: dict[str, Settings] = {
        "plain": {},
        "ranks": {**flexlora, "method.ranks": [1, 4, 2]},
        "defense": {"server.aggregation": "trimmed-mean"},
    }
    rank_of = {"north": 1, "south": 4, "west": 2}
    together = outcome(make({**many[kind], "evaluation.alone": True}, places), tmp_path / "run")
    rows = Path(places["data"]).read_text().splitlines(keepends=True)
    assert together["alone"]["loss"]["south"] != together["test"]["loss"]["south"]
    for client in SIZES:
        own = tmp_path / f"{client}.jsonl"
        own.write_text("".join(row for row in rows if json.loads(row)["client"] == client))
        one = {**flexlora, "method.ranks": [rank_of[client]]} if kind == "ranks" else {}
        alone = outcome(make({**one, "data.path": str(own)}, places), tmp_path / client)
        for metric, values in alone["test"].items():
            assert together["alone"][metric][client] == pytest.approx(values[client], abs=1e-6)


@pytest.mark.parametrize("cohort", [{}, {"cohort.size": 2}])
def test_the_lora_reference_is_what_a_run_with_lora_sends(
    cohort: Settings, places: dict[str, str], tmp_path: Path
) -> None:
    lora = make(
        {**cohort, "method.name": "lora", "method.rank": 8, "method.bottleneck": None}, places
    )
    reference = outcome(make(cohort, places), tmp_path / "fedtt")["lora_reference"]
    sent = outcome(lora, tmp_path / "lora")
    for key in ("uplink_bytes", "downlink_bytes", "exchanged_parameters"):
        assert reference[key] == sent[key]
