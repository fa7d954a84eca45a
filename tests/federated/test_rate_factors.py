"""Which parameters learn at a rate of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.errors import ConfigError
from fedtt.federated.local.rate_factors import rate_factors

MakeConfig = Callable[..., RunConfig]
RATES = {"steps": 1, "learning_rate": 1e-2, "head_learning_rate": 3e-2, "zero_start_factor": 16}


def test_the_head_has_its_own_and_what_starts_at_zero() -> None:
    initial = {
        "head.bias": torch.zeros(2),
        "head.weight": torch.ones(2, 2),
        "lora_A": torch.ones(2, 2),
        "lora_B": torch.zeros(2, 2),
        "nearly": torch.tensor([0.0, 1e-30]),
    }
    kinds = dict.fromkeys(initial, "lora") | {"head.bias": "head", "head.weight": "head"}
    found = rate_factors(initial, kinds, head=3.0, zero_start=16.0)
    assert found == {"head.bias": 3.0, "head.weight": 3.0, "lora_B": 16.0}
    assert rate_factors(initial, kinds, head=1.0, zero_start=1.0) == {}


def built(make_config: MakeConfig, method: dict, **client: float) -> Federation:
    return build_federation(make_config(method=method, client={**RATES, **client}))


@pytest.mark.parametrize(
    ("method", "zero"),
    [
        ({"name": "lora", "rank": 2}, "lora_B"),
        ({"name": "fedtt", "rank": 2, "bottleneck": 8}, "core_"),
        ({"name": "lora-xs", "rank": 2}, "lora_xs"),
    ],
)
def test_of_a_method_as_it_is_built(make_config: MakeConfig, method: dict, zero: str) -> None:
    federation = built(make_config, method)
    factors = federation.training.factors
    initial = federation.initial.params
    raised = {name for name in initial if federation.training.factor(name) == 16}
    head = {name for name, kind in federation.kinds.items() if kind == "head"}
    assert {name for name in factors if factors[name] == pytest.approx(3.0)} == head
    assert raised == {n for n in initial if n not in head and not initial[n].any()}
    assert raised
    assert all(zero in name for name in raised)


def test_a_factor_that_finds_nothing_is_noted(make_config: MakeConfig) -> None:
    federation = built(make_config, {"name": "ia3"})
    assert any("zero_start_factor changes nothing" in note for note in federation.notes)


@pytest.mark.parametrize(("fewer", "noted"), [(0, True), (1, False)])
def test_a_subspace_of_as_many_numbers_as_there_are_parameters_is_noted(
    make_config: MakeConfig, fewer: int, *, noted: bool
) -> None:
    plain = {"name": "lora", "rank": 1}
    there_are = sum(built(make_config, plain).exchanged_parameters.values())
    federation = built(make_config, {**plain, "subspace": {"size": there_are - fewer}})
    told = f"method.subspace changes nothing in the first round: its {there_are:,} numbers"
    assert any(told in note for note in federation.notes) == noted


def test_a_rate_of_a_head_that_is_not_there_is_refused(
    make_config: MakeConfig, tiny_llama: Path
) -> None:
    task = {"kind": "label-words", "prompt": "the {text} was", "words": ["bad", "good"]}
    model = {"name": str(tiny_llama), "max_length": 16, "device": "cpu"}
    with pytest.raises(
        ConfigError, match=r"client.head_learning_rate\n  got: task.kind = 'label-w"
    ):
        build_federation(make_config(model=model, task=task, client=RATES))
