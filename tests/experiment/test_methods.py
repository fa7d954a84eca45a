"""Every method through whole runs on a tiny model: it learns, resumes, and opens again."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.experiment.runs import run

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import InterruptedRunError
from fedtt.experiment import (
    evaluate_run,
    open_run,
    predict_texts,
)

MakeConfig = Callable[..., RunConfig]

METHODS: dict[str, dict] = {
    "fedtt+ cycle": {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "cycle"},
    "fedtt+ ends+cycle": {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "ends+cycle"},
    "fedtt+ adaptive": {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "adaptive"},
    "fedtt-round": {"name": "fedtt-round", "rank": 2, "bottleneck": 8},
    "ffa-lora": {"name": "ffa-lora", "rank": 2},
    "rolora": {"name": "rolora", "rank": 2},
    "fedex-lora": {"name": "fedex-lora", "rank": 1},
    "flexlora": {"name": "flexlora", "rank": 4, "ranks": (1, 2, 4)},
    "lora-xs": {"name": "lora-xs", "rank": 4},
    "metatt": {"name": "metatt", "rank": 2},
    "metatt cycle": {"name": "metatt", "rank": (2, 3, 2), "schedule": "cycle"},
    "metatt-round": {"name": "metatt-round", "rank": 2},
    "adapter": {"name": "adapter", "bottleneck": 4},
    "bitfit": {"name": "bitfit"},
    "prompt": {"name": "prompt", "num_tokens": 4},
    "prefix": {"name": "prefix", "num_tokens": 4},
    "p-tuning": {"name": "p-tuning", "num_tokens": 4},
    "ia3": {"name": "ia3"},
    "vera": {"name": "vera", "rank": 8},
    "head": {"name": "head"},
    "full": {"name": "full"},
    "lora, 90 numbers a round": {"name": "lora", "rank": 2, "subspace": {"size": 90}},
    "fedtt+, 90 numbers for 4 rounds": {
        "name": "fedtt+",
        "rank": 2,
        "bottleneck": 8,
        "subspace": {"size": 90, "redraw": 4, "balance": "layers"},
    },
    "peft:loha": {"name": "peft:loha", "options": {"r": 2, "target_modules": ["query"]}},
}


# The default tests run these; the others are like one of them, and slow together.
QUICK = {
    "fedtt+ adaptive",
    "fedtt-round",
    "metatt cycle",
    "fedex-lora",
    "flexlora",
    "lora, 90 numbers a round",
    "bitfit",
    "prompt",
}
CASES = [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in METHODS]
assert METHODS.keys() >= QUICK


@pytest.mark.parametrize("method", CASES)
def test_a_stopped_run_of_any_method_ends_with_the_same_bits(
    method: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """A sampled cohort with dropouts, so that clients miss rounds; FedProx and a label prior."""
    config = make_config(
        rounds=6,
        method=METHODS[method],
        cohort={"size": 2, "dropout": 0.2},
        client={"steps": 2, "batch_size": 8, "proximal": 0.01, "logit_adjustment": 1.0},
        evaluation={"every": 3, "alone": False},
    )
    summary = run(config, tmp_path / "whole")
    assert summary["test"]["accuracy"]["mean"] >= 0
    with pytest.raises(InterruptedRunError):
        run(config, tmp_path / "stopped", stop_after=11)
    assert run(config, tmp_path / "stopped")["test"] == summary["test"]
    whole, stopped = (load_file(tmp_path / n / "state.safetensors") for n in ("whole", "stopped"))
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    records, resumed = (open_run(tmp_path / n).rounds() for n in ("whole", "stopped"))
    for first, second in zip(records, resumed, strict=True):
        assert first["downlink_bytes"] == second["downlink_bytes"]
        assert first["clients"] == second["clients"]
    evaluated = evaluate_run(tmp_path / "whole", split="test")
    assert evaluated["accuracy"] == summary["test"]["accuracy"]
    (prediction,) = predict_texts(tmp_path / "whole", ["the film was superb"])
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", CASES)
def test_everything_that_is_exchanged_moves(
    method: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(
        rounds=5,
        method=METHODS[method],
        client={"steps": 2, "batch_size": 8, "learning_rate": 3e-2},
        evaluation={"every": 0, "alone": False},
    )
    run(config, tmp_path / "run")
    initial = build_federation(config).initial.params
    state = open_run(tmp_path / "run").load_state(expected=p.structure_of(initial))
    assert [name for name in initial if torch.equal(initial[name], state.params[name])] == []


def test_predictions_have_what_the_adapter_alone_has_not(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """FedEx-LoRA changes base weights; ``fedtt predict`` must give what was evaluated."""
    config = make_config(
        rounds=4,
        method={"name": "fedex-lora", "rank": 1, "alpha": 8.0},
        client={"steps": 4, "batch_size": 16, "learning_rate": 3e-2},
        evaluation={"every": 0, "alone": False},
    )
    run(config, tmp_path / "run")
    federation = build_federation(config)
    state = open_run(tmp_path / "run").load_state(
        expected=p.structure_of(federation.initial.params)
    )
    moved = [name for name in state.params if name.endswith("base_layer.weight")]
    assert moved
    assert not any(torch.equal(state.params[n], federation.initial.params[n]) for n in moved)

    p.write_params(federation.model, state.params)
    federation.model.eval()
    text = "the film was superb"
    inputs = federation.tokenizer(text, return_tensors="pt", padding="max_length", max_length=16)
    with torch.inference_mode():
        expected = federation.model(**inputs).logits.softmax(dim=-1)[0]
    (prediction,) = predict_texts(tmp_path / "run", [text])
    for index, label in enumerate(federation.label_names):
        assert prediction.probabilities[label] == pytest.approx(float(expected[index]), abs=1e-5)
