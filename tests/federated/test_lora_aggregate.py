"""FlexLoRA and FedEx-LoRA against dense products, clients of different ranks included."""

import pytest
import torch
from peft import LoraConfig

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.aggregate.lora_products import ProductSVD, ResidualIntoBase
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.cohort import Cohorts
from fedtt.federated.method import Method
from fedtt.federated.round import ClientTask, one_by_one, run_round
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.types import ClientUpdate, ServerState
from fedtt.federated.wire.broadcast import decode_broadcast
from fedtt.federated.wire.update import encode_update

A, B, BASE = "q.lora_A.default.weight", "q.lora_B.default.weight", "q.base_layer.weight"
WEIGHTS = [1.0, 2.0, 5.0]


def start(rank: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        A: torch.randn(rank, 12, generator=generator),
        B: torch.zeros(9, rank),
        BASE: torch.randn(9, 12, generator=generator),
        "head": torch.zeros(3),
    }


def deltas(count: int = 3) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    shapes = {name: t.shape for name, t in start().items() if name != BASE}
    return [
        {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def include_all(aggregation):
    for delta, weight in zip(deltas(), WEIGHTS, strict=True):
        aggregation = aggregation.include(delta, start=start(), weight=weight)
    return aggregation.result(start=start())


def mean_product() -> torch.Tensor:
    begin = start()
    products = [(begin[B] + d[B]).double() @ (begin[A] + d[A]).double() for d in deltas()]
    return sum(w * x for w, x in zip(WEIGHTS, products, strict=True)) / sum(WEIGHTS)


def test_flexlora_is_the_best_approximation_of_the_mean_product() -> None:
    delta = include_all(ProductSVD()).delta
    begin = start()
    product = (begin[B] + delta[B]).double() @ (begin[A] + delta[A]).double()
    left, values, right = torch.linalg.svd(mean_product())
    best = left[:, :4] * values[:4] @ right[:4]
    torch.testing.assert_close(product, best, rtol=1e-4, atol=1e-5)
    rows = begin[A] + delta[A]
    torch.testing.assert_close(rows @ rows.T, torch.eye(4), atol=1e-5, rtol=0)


def test_fedex_gives_the_base_weight_exactly_what_the_mean_factors_miss() -> None:
    aggregate = include_all(ResidualIntoBase(scale=2.0))
    begin = start()
    left, right = aggregate.factors[BASE]
    factors = (begin[B] + aggregate.delta[B]) @ (begin[A] + aggregate.delta[A])
    effective = begin[BASE] + left @ right + 2.0 * factors
    wanted = begin[BASE] + 2.0 * mean_product().float()
    torch.testing.assert_close(effective, wanted, rtol=1e-5, atol=1e-5)
    assert left.shape == (9, 16)


@pytest.mark.parametrize("aggregation", [ProductSVD(), ResidualIntoBase(scale=1.0)])
def test_the_head_is_averaged_as_usual(aggregation) -> None:
    got, wanted = include_all(aggregation).delta["head"], include_all(WeightedMean()).delta["head"]
    assert torch.equal(got, wanted)


def flexlora(ranks: tuple[int, ...]) -> Method:
    return Method(
        name="flexlora",
        reference="a test",
        adapter=LoraConfig(r=4),
        aggregation=ProductSVD(),
        client_ranks=ranks,
        weighting=WEIGHTINGS["examples"],
        server=ServerOptimizer(),
    )


def test_clients_of_lower_rank_send_and_receive_less_and_count_as_padded() -> None:
    begin = {name: tensor for name, tensor in start().items() if name != BASE}
    state = ServerState(next_round=0, params=begin)
    sent: dict[str, dict[str, torch.Tensor]] = {}

    def call(task: ClientTask) -> bytes:
        broadcast = decode_broadcast(task.payload, structure=task.structure)
        generator = torch.Generator().manual_seed(ord(task.client_id))
        delta = {
            name: torch.randn(spec.shape, generator=generator)
            for name, spec in task.structure.items()
        }
        known = broadcast.apply(p.narrow(begin, task.structure))
        sent[task.client_id] = p.add(known, delta)
        return encode_update(ClientUpdate(delta=delta, num_examples=1, num_steps=1, loss=1.0))

    state, report = run_round(
        state,
        method=flexlora((1, 4)),
        cohorts=Cohorts(population=("a", "b", "c"), seed=0),
        learning_rate=0.1,
        call_clients=one_by_one(call),
    )
    assert sent["a"][A].shape == sent["c"][A].shape == (1, 12)
    assert sent["b"][B].shape == (9, 4)
    numbers = 3 * (12 + 9)  # three ranks fewer
    sizes = {name: report.clients[name].uplink_bytes for name in "abc"}
    assert sizes["b"] - sizes["a"] == pytest.approx(4 * numbers, abs=16)
    mean = sum(params[B] @ params[A] for params in sent.values()) / 3
    left, values, right = torch.linalg.svd(mean)
    best = left[:, :4] * values[:4] @ right[:4]
    torch.testing.assert_close(state.params[B] @ state.params[A], best, rtol=1e-4, atol=1e-4)
