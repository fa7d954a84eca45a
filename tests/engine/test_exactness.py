"""On real local updates of a tiny model: whose mean is exact, and that no round is dead."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.cohort import Cohorts
from fedtt.federated.parameter_names import lora_pairs, tensor_trains
from fedtt.federated.round import run_round
from fedtt.federated.types import ServerState
from fedtt.params import Params
from fedtt.tt import to_dense

MakeConfig = Callable[..., RunConfig]
TT = {"rank": 2, "bottleneck": 8}
EXACT: dict[str, dict] = {
    "fedtt+ cycle": {"name": "fedtt+", "schedule": "cycle", **TT},
    "fedtt+ adaptive": {"name": "fedtt+", "schedule": "adaptive", **TT},
    "ffa-lora": {"name": "ffa-lora", "rank": 2},
    "rolora": {"name": "rolora", "rank": 2},
    "fedex-lora": {"name": "fedex-lora", "rank": 2},
    "lora-xs": {"name": "lora-xs", "rank": 4},
    "metatt cycle": {"name": "metatt", "rank": 3, "schedule": "cycle"},
    "metatt adaptive": {"name": "metatt", "rank": 3, "schedule": "adaptive"},
}
INEXACT: dict[str, dict] = {
    "fedtt": {"name": "fedtt", **TT},
    "fedtt+ ends+cycle": {"name": "fedtt+", "schedule": "ends+cycle", **TT},
    "lora": {"name": "lora", "rank": 2},
    "metatt": {"name": "metatt", "rank": 3},
    "metatt ends+cycle": {"name": "metatt", "rank": 3, "schedule": "ends+cycle"},
}


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """An aggregation that keeps what went into it."""

    fewest: ClassVar[int] = 1
    linear: ClassVar[bool] = True
    inner: Aggregation
    updates: list[tuple[float, Params]]

    def include(self, delta: Params, *, start: Params, weight: float) -> "Recorder":
        self.updates.append((weight, delta))
        return replace(self, inner=self.inner.include(delta, start=start, weight=weight))

    def result(self, *, start: Params) -> Aggregate:
        return self.inner.result(start=start)


def rounds(
    federation: Federation, config: RunConfig, count: int
) -> Iterator[tuple[ServerState, list[tuple[float, Params]], ServerState]]:
    """Server state before, the clients' updates, server state after."""
    state = federation.initial
    call = local_clients(
        federation,
        state=state,
        seed=0,
    )
    for _ in range(count):
        updates: list[tuple[float, Params]] = []
        recorder = Recorder(inner=federation.method.aggregation, updates=updates)
        before = state
        state, _ = run_round(
            state,
            method=replace(federation.method, aggregation=recorder),
            cohorts=Cohorts(population=federation.population, seed=0),
            learning_rate=config.client.learning_rate,
            call_clients=call,
        )
        yield before, updates, state


def products(federation: Federation, params: Params) -> dict[str, Tensor]:
    """What every adapted layer adds, or its weight, as a dense matrix."""
    model = dict(federation.model.named_parameters())
    everything = {**{n: t.detach() for n, t in model.items() if ".lora_A." in n}, **params}
    dense: dict[str, Tensor] = {}
    for layer, names in tensor_trains(params).items():
        split = federation.model.get_submodule(layer).shape.split
        dense[layer] = to_dense([params[name].double() for name in names], split=split)
    for pair in lora_pairs(everything):
        scale = federation.method.adapter.lora_alpha / federation.method.adapter.r
        product = scale * everything[pair.b].double() @ everything[pair.a].double()
        dense[pair.b] = product + params.get(pair.base_weight, torch.zeros(())).double()
    return dense or {n: t.double() for n, t in params.items()}  # lora-xs: linear in what it sends


def mismatch(method: dict, make_config: MakeConfig) -> float:
    """Largest relative difference between the mean of the products and the product sent."""
    config = make_config(method=method, client={"steps": 3, "batch_size": 8, "learning_rate": 2e-2})
    federation = build_federation(config)
    worst = 0.0
    for before, updates, after in rounds(federation, config, 3):
        total = sum(weight for weight, _ in updates)
        means: dict[str, Tensor] = {}
        for weight, delta in updates:
            ended = {**before.params, **p.add(p.select(before.params, delta), delta)}
            for name, matrix in products(federation, ended).items():
                means[name] = means.get(name, torch.zeros(())) + weight / total * matrix
        for name, matrix in products(federation, after.params).items():
            gap = torch.linalg.vector_norm(matrix - means[name])
            worst = max(worst, float(gap / torch.linalg.vector_norm(means[name]).clamp_min(1e-6)))
    return worst


@pytest.mark.parametrize("method", EXACT)
def test_the_mean_of_products_is_the_product_sent(method: str, make_config: MakeConfig) -> None:
    assert mismatch(EXACT[method], make_config) < 1e-5


@pytest.mark.parametrize("method", INEXACT)
def test_where_factors_are_averaged_it_is_not(method: str, make_config: MakeConfig) -> None:
    assert mismatch(INEXACT[method], make_config) > 1e-4


@pytest.mark.parametrize("schedule", ["all", "cycle", "ends+cycle", "adaptive"])
@pytest.mark.parametrize("method", [{"name": "fedtt+", **TT}, {"name": "metatt", "rank": 3}])
def test_no_round_is_dead(method: dict, schedule: str, make_config: MakeConfig) -> None:
    """Whatever a round trains moves in it, from the first round on; nothing else does."""
    config = make_config(
        method={**method, "schedule": schedule},
        client={"steps": 3, "batch_size": 8, "weight_decay": 0.5},
    )
    federation = build_federation(config)
    for before, updates, after in rounds(federation, config, 6):
        trained = set(updates[0][1])
        changed = {n for n in after.params if not torch.equal(after.params[n], before.params[n])}
        assert changed == trained == federation.method.trained(before)
