"""Every known architecture, and every data type, from its files to a whole round."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.peft.tiny_architectures import CONFIGS, tiny_classifier
from tests.tiny import save_tiny_tokenizer

from fedtt import params as p
from fedtt.config import RunConfig, ServerConfig
from fedtt.engine import build_checks, build_splits, inprocess
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import count_message
from fedtt.engine.data import absent_data
from fedtt.engine.fingerprint import digest_texts
from fedtt.engine.inprocess import local_clients
from fedtt.errors import ConfigError, ModelError
from fedtt.experiment.description import describe, is_data_at_sites
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round
from fedtt.federated.types import RoundReport, ServerState
from fedtt.methods.lora_family import REFERENCE as LORA_REFERENCE
from fedtt.models import load_model_config

MakeConfig = Callable[..., RunConfig]
METHODS: dict[str, dict] = {
    "fedtt": {"name": "fedtt", "rank": 2, "bottleneck": 8},
    "lora": {"name": "lora", "rank": 2},
}
# DeBERTa's module decorates its functions with torch.jit.script when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning")


def one_round(config: RunConfig, federation: Federation) -> tuple[ServerState, RoundReport]:
    return run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=config.seed),
        learning_rate=config.client.learning_rate,
        call_clients=local_clients(
            federation,
            state=federation.initial,
            seed=config.seed,
        ),
    )


def test_who_trains_on_a_processor_keeps_its_memory(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(inprocess, "keep_freed_memory", lambda: kept.append(True))
    federation = build_federation(make_config())
    assert not kept
    local_clients(federation, state=federation.initial, seed=0)
    assert kept


def test_texts_are_tokenized_piece_by_piece(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_federation(make_config())
    monkeypatch.setattr(build_splits, "TEXTS_AT_ONCE", 7)
    pieces = build_federation(make_config())
    for split, held in whole.splits.items():
        assert digest_texts(pieces.splits[split]) == digest_texts(held)


@pytest.mark.parametrize(("kind", "rank"), [("lora", 10**9), ("loha", 10**9), ("lora", 10**18)])
def test_a_rank_beyond_all_use_is_refused_before_it_is_allocated(
    make_config: MakeConfig, kind: str, rank: int
) -> None:
    options = {"r": rank, "target_modules": ["query"]}
    config = make_config(method={"name": f"peft:{kind}", "options": options})
    with pytest.raises(ConfigError, match=r"(?s)r is absurdly large.*Config\.r\n"):
        build_federation(config)


def test_a_method_larger_than_the_memory_is_refused_before_it_is_allocated(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"r": 4, "target_modules": ["query"]}
    config = make_config(method={"name": "peft:lora", "options": options})
    build_federation(config)
    monkeypatch.setattr(build_checks, "memory_bytes", lambda _device: 1_000)
    with pytest.raises(ModelError, match=r"larger than the memory.*\n  where: method\n  got: "):
        build_federation(config)


@pytest.fixture(scope="module")
def directory_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of a tiny random model of an architecture, with a tokenizer."""
    root, saved = tmp_path_factory.mktemp("architectures"), {}

    def save(model_type: str) -> Path:
        if model_type not in saved:
            tiny_classifier(model_type).save_pretrained(root / model_type)
            save_tiny_tokenizer(root / model_type)
            saved[model_type] = root / model_type
        return saved[model_type]

    return save


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
@pytest.mark.parametrize("method", METHODS)
def test_a_round_with_every_known_architecture(
    method: str,
    model_type: str,
    directory_of: Callable[[str], Path],
    make_config: MakeConfig,
) -> None:
    config = make_config(
        model={"name": str(directory_of(model_type)), "max_length": 16, "device": "cpu"},
        method=METHODS[method],
        client={"steps": 2, "batch_size": 4, "learning_rate": 1e-2},
    )
    federation = build_federation(config)
    state, _ = one_round(config, federation)
    assert p.non_finite_names(state.params) == []
    moved = {n for n, v in federation.initial.params.items() if not v.equal(state.params[n])}
    assert moved == set(federation.kinds)
    assert federation.lora_reference is not None
    assert federation.lora_reference.exchanged_parameters["lora"] > 0
    assert federation.notes == ()


# Every kind of exchanged parameter: inside PEFT's layers, in the base model, in the head.
IN_EVERY_TYPE: dict[str, dict] = {
    **METHODS,
    "fedtt, dense head": {**METHODS["fedtt"], "tensorize_classifier": True, "bias": True},
    "fedex-lora": {"name": "fedex-lora", "rank": 2},
    "lora-xs": {"name": "lora-xs", "rank": 4},
    "metatt": {"name": "metatt", "rank": 3},
    "adapter": {"name": "adapter", "bottleneck": 4},
    "bitfit": {"name": "bitfit"},
    "prompt": {"name": "prompt", "num_tokens": 4},
    "prefix": {"name": "prefix", "num_tokens": 4},
    "p-tuning": {"name": "p-tuning", "num_tokens": 4},
    "ia3": {"name": "ia3"},
    "vera": {"name": "vera", "rank": 8},
    "head": {"name": "head"},
    "full": {"name": "full"},
    "norms": {"name": "peft:ln-tuning", "options": {"target_modules": ["LayerNorm"]}},
}


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")  # PEFT of a LayerNorm
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", IN_EVERY_TYPE)
def test_what_is_exchanged_is_float32_in_a_base_model_of_any_type(
    method: str, dtype: str, make_config: MakeConfig, tiny_bert: Path
) -> None:
    config = make_config(
        model={"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dtype": dtype},
        method=IN_EVERY_TYPE[method],
    )
    federation = build_federation(config)
    weights = dict(federation.model.named_parameters())
    others = {tensor.dtype for name, tensor in weights.items() if name not in federation.kinds}
    assert {weights[name].dtype for name in federation.kinds} == {torch.float32}
    # BitFit's and the norms' frozen neighbours are cast with them; of full only what is not read.
    assert getattr(torch, dtype) in others
    ids = torch.tensor([[2, 5, 7, 3]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert federation.model(**inputs).logits.dtype == torch.float32
    state, report = one_round(config, federation)
    moved = {n for n, v in federation.initial.params.items() if not v.equal(state.params[n])}
    assert moved == set(federation.kinds)
    assert {tensor.dtype for tensor in state.params.values()} == {torch.float32}
    # What `fedtt cost` says, from the shapes alone, is what was sent: no matter which type the
    # checkpoint says it has.
    saved = load_model_config(str(tiny_bert), num_labels=2)
    saved.dtype = torch.bfloat16
    cost = count_message(saved, federation.method, task="classification", clients=3)
    assert report.downlink_bytes == 3 * cost.first_downlink_bytes
    assert report.uplink_bytes == 3 * cost.uplink_bytes
    lora = build_method(LORA_REFERENCE, task="classification")
    assert federation.lora_reference == count_message(saved, lora, task="classification")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_narrow_base_model_learns_as_the_wide_one_does(
    dtype: str, make_config: MakeConfig, tiny_bert: Path
) -> None:
    """Ten steps of each: half the digits of the base are enough for the adapter to go along."""
    losses = {}
    for name in ("float32", dtype):
        config = make_config(
            model={
                "name": str(tiny_bert),
                "max_length": 16,
                "device": "cpu",
                "dtype": name,
                "dropout": 0.0,
            },
            client={"steps": 10, "batch_size": 16, "learning_rate": 1e-2},
        )
        losses[name] = one_round(config, build_federation(config))[1].loss
    assert losses[dtype] == pytest.approx(losses["float32"], rel=5e-3)


@pytest.mark.parametrize(
    "changes", [{"cohort": {"size": 2}}, {"partition": {"kind": "iid", "clients": 2}}]
)
@pytest.mark.parametrize(
    ("aggregation", "fewest"),
    [
        ("median", 3),
        ("trimmed-mean", 3),
        ("geometric-median", 3),
        ("krum", 5),
        ("multi-krum", 5),
        ("directional-krum", 5),
    ],
)
def test_a_defense_with_too_few_clients_a_round_is_refused(
    make_config: MakeConfig, changes: dict, aggregation: str, fewest: int
) -> None:
    config = make_config(server={"aggregation": aggregation}, **changes)
    message = rf"{aggregation}' takes more clients(.|\n)*got: 2 clients(.|\n)*at least {fewest}"
    with pytest.raises(ConfigError, match=message):
        build_federation(config)


def test_a_site_is_one_client_of_the_cohorts_population(make_config: MakeConfig) -> None:
    """It holds one client's data, and takes part where two of three are called."""
    names = ("north", "south", "west")
    config = make_config(
        cohort={"size": 2}, sites={"names": names}, server={"aggregation": "median"}
    )
    data = config.data.model_copy(update={"label_names": ("negative", "positive")})
    own = absent_data(data, config.task, client_ids=["north"])
    with pytest.raises(ConfigError, match="at least 3"):
        build_federation(config, own)
    one_of_three = config.model_copy(update={"server": ServerConfig()})
    federation = build_federation(one_of_three, own)
    assert federation.population == ("north",)
    assert is_data_at_sites(describe(federation, one_of_three)), "serve counts no text"
