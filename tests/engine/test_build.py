"""Every known architecture, and every data type, from its files to a whole round."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.peft.tiny_architectures import CONFIGS, tiny_classifier
from tests.tiny import save_tiny_tokenizer

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.local import local_clients
from fedtt.federated.round import run_round
from fedtt.federated.types import RoundReport, ServerState

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
        population=federation.population,
        cohort_size=None,
        seed=config.seed,
        learning_rate=config.client.learning_rate,
        call_client=local_clients(
            federation.model,
            federation.splits["train"],
            state=federation.initial,
            training=federation.training,
            logit_adjustment=0.0,
            pad_token_id=0,
            seed=config.seed,
        ),
    )


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
