"""Every architecture from its files through two federated rounds to what PEFT alone reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tests.peft.tiny_architectures import CONFIGS, PEFT_WARNING, tiny_classifier
from tests.tiny import save_tiny_tokenizer
from transformers import AutoModelForSequenceClassification

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.data import collate
from fedtt.engine.build import build_federation
from fedtt.engine.evaluation import judge
from fedtt.engine.inprocess import local_clients
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round
from fedtt.peft.anatomy import ANATOMIES

MakeConfig = Callable[..., RunConfig]
pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    # DeBERTa's module decorates its functions with torch.jit.script when it is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]
METHODS: dict[str, dict[str, Any]] = {
    "fedtt": {"name": "fedtt", "rank": 2, "bottleneck": 8},
    "fedtt+": {"name": "fedtt+", "rank": 2, "bottleneck": 8},
    "lora": {"name": "lora", "rank": 2},
}
# One of each kind of block and head; the others have the same ones under other names.
DEFAULT = {
    "fedtt": {"albert", "deberta-v2", "distilbert", "gpt2", "llama", "mpnet", "qwen2", "roberta"},
    "fedtt+": {"bert", "mistral"},
    "lora": {"electra", "phi3"},
}


def cases() -> list[Any]:
    return [
        pytest.param(
            method,
            model_type,
            marks=[] if model_type in DEFAULT[method] else [pytest.mark.slow],
        )
        for method in METHODS
        for model_type in sorted(ANATOMIES)
    ]


def test_every_architecture_has_a_tiny_model() -> None:
    assert set(CONFIGS) == set(ANATOMIES)
    assert set().union(*DEFAULT.values()) <= set(ANATOMIES)


@pytest.mark.parametrize(("method", "model_type"), cases())
def test_two_rounds_saved_are_what_peft_alone_reads(
    method: str, model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    tiny_classifier(model_type).save_pretrained(tmp_path / "base")
    save_tiny_tokenizer(tmp_path / "base")
    config = make_config(
        model={"name": str(tmp_path / "base"), "max_length": 16, "device": "cpu"},
        method=METHODS[method],
        client={"steps": 2, "batch_size": 4, "learning_rate": 1e-2},
    )
    federation = build_federation(config)
    assert federation.notes == ()
    state = federation.initial
    call = local_clients(
        federation,
        state=state,
        seed=config.seed,
    )
    for _ in range(2):
        state, _ = run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, seed=config.seed),
            learning_rate=config.client.learning_rate,
            call_clients=call,
        )
    assert p.non_finite_names(state.params) == []
    moved = {n for n, v in federation.initial.params.items() if not v.equal(state.params[n])}
    assert moved == set(federation.kinds)

    p.write_params(federation.model, state.params)
    federation.model.save_pretrained(tmp_path / "adapter")
    data = federation.splits["test"]["south"]
    expected = judge(federation.model, federation.task, {"south": data}, batch_size=64)["south"]
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    alone = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    batch = collate(data, range(len(data)), pad_token_id=0)
    del batch["labels"]
    with torch.no_grad():
        found = alone(**batch).logits
    torch.testing.assert_close(found, torch.from_numpy(expected["scores"]), rtol=1e-4, atol=1e-5)
    untrained = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base").eval()
    with torch.no_grad():
        assert not torch.allclose(untrained(**batch).logits, found, atol=1e-4)
