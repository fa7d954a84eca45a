"""A privacy step acts in one place: on a client alone and on a stacked cohort alike."""

from collections.abc import Callable
from dataclasses import replace

import torch
from tests.extending.toy_privacy import keep_signs

from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import run_round
from fedtt.params import Params

MakeConfig = Callable[..., RunConfig]


def after_a_round(federation: Federation, *, max_tokens: int | None) -> Params:
    state, _ = run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=0),
        learning_rate=0.01,
        call_clients=local_clients(
            federation, state=federation.initial, seed=0, max_tokens=max_tokens
        ),
    )
    return state.params


def test_a_privacy_step_from_outside_acts_alone_and_together(make_config: MakeConfig) -> None:
    client = {"steps": 1, "batch_size": 8, "optimizer": "sgd", "weight_decay": 0.0}
    config = make_config(client=client, model={**make_config().model.model_dump(), "dropout": 0.0})
    federation = build_federation(config)
    training = replace(federation.training, private=keep_signs)
    private = replace(federation, training=training)
    alone = after_a_round(private, max_tokens=None)
    together = after_a_round(private, max_tokens=4096)
    plain = after_a_round(federation, max_tokens=None)
    for name, start in federation.initial.params.items():
        torch.testing.assert_close(alone[name], together[name], atol=1e-6, rtol=1e-5)
        moved = (alone[name] - start).abs()
        assert float(moved.max()) <= 0.01 + 1e-6  # a step of SGD along signs: 0.01 at most
    assert any(not torch.allclose(alone[name], plain[name], atol=1e-4) for name in plain)
