"""A run's bytes from shapes, against the payloads that rounds really make."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tiny_config

from fedtt import params as p
from fedtt.config import WireConfig, parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import empty_adapted, exchanged_kinds, first_state, put_into
from fedtt.engine.traffic import ROUNDS, ClientRound, count_traffic, simulate_rounds
from fedtt.federated.cohort import Cohorts
from fedtt.federated.method import Method
from fedtt.federated.round import ClientTask, one_by_one, run_round
from fedtt.federated.types import ClientUpdate, ServerState
from fedtt.federated.wire.broadcast import decode_broadcast
from fedtt.federated.wire.update import encode_update

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def method_of(name: str, *overrides: str, **wire: object) -> Method:
    section = parse_method(name, overrides=overrides)
    return build_method(section, task="classification", wire=WireConfig(**wire))


def reply(task: ClientTask) -> bytes:
    """A random update, as wide as the client knows its parameters."""
    trained = decode_broadcast(
        task.payload, structure=task.structure, subspace=task.subspace, codec=task.downlink
    ).trained
    generator = torch.Generator().manual_seed(task.round_index)
    delta = {
        name: torch.randn(spec.shape, generator=generator) / 100
        for name, spec in task.answer(trained).items()
    }
    return encode_update(ClientUpdate(delta=delta, num_examples=5, num_steps=1, loss=0.5))


def real_bytes(method: Method, *, clients: int, rounds: int) -> tuple[list[int], list[int]]:
    """Uplink and downlink of all clients in every round, as the loop reports them."""
    model = put_into(tiny_classifier("bert"), method)
    params = p.read_params(model, exchanged_kinds(model, method))
    state = ServerState(next_round=0, params=params)
    ups, downs = [], []
    for _ in range(rounds):
        state, report = run_round(
            state,
            method=method,
            cohorts=Cohorts(population=[f"client {index}" for index in range(clients)], seed=0),
            learning_rate=0.1,
            call_clients=one_by_one(reply),
        )
        ups.append(sum(client.uplink_bytes for client in report.clients.values()))
        downs.append(sum(client.downlink_bytes for client in report.clients.values()))
    return ups, downs


@pytest.mark.parametrize(
    "method",
    [
        method_of("fedtt"),
        method_of("fedtt+"),
        method_of("fedtt+", "schedule=cycle"),
        method_of("rolora", "rank=4"),
        method_of("ffa-lora", "rank=4"),
        method_of("fedex-lora", "rank=2"),
        method_of("flexlora", "rank=6", "ranks=[6, 3]"),
        method_of("lora", "rank=4", "subspace={size=100}"),
        method_of("fedtt+", "subspace.size=100", "schedule=cycle"),
        method_of("fedtt+", "schedule=cycle", downlink="int8", deflate=False),
        method_of("lora", "rank=4", "subspace={size=100}", downlink="int4", deflate=False),
    ],
    ids=lambda method: f"{method.name}-{'sub' if method.subspace else ''}-{method.downlink.name}",
)
def test_totals_are_what_a_run_sends(method: Method) -> None:
    clients, rounds = 3, 7
    ups, downs = real_bytes(method, clients=clients, rounds=rounds)
    model, kinds = empty_adapted(tiny_config("bert"), method, task="classification")
    state = first_state(model, kinds)
    structure = p.structure_of(state.params)
    whole = simulate_rounds(state, method, clients=clients, structure=structure)
    traffic = count_traffic(state, method, clients=clients, rounds=rounds, whole=whole)
    assert traffic.first_broadcast_bytes == downs[0]
    assert traffic.downlink_bytes == sum(downs[1:])
    assert traffic.uplink_bytes == sum(ups)
    assert traffic.total_bytes == sum(ups) + sum(downs)


@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=2, max_size=ROUNDS + 1),
    rounds=st.integers(1, 500),
    clients=st.integers(1, 1000),
)
def test_a_long_run_repeats_the_cycle(sizes: list[int], rounds: int, clients: int) -> None:
    whole = [
        ClientRound(trained=frozenset(), uplink_bytes=size, downlink_bytes=2 * size + 1)
        for size in sizes
    ]
    state = ServerState(next_round=0, params={})
    traffic = count_traffic(state, method_of("lora"), clients=clients, rounds=rounds, whole=whole)
    played = [sizes[0], *(sizes[1:] * rounds)][:rounds]
    assert traffic.uplink_bytes == clients * sum(played)
    assert traffic.first_broadcast_bytes == clients * (2 * sizes[0] + 1)
    assert traffic.downlink_bytes == clients * sum(2 * size + 1 for size in played[1:])
    mean = sum(sizes[1:]) / len(sizes[1:])
    assert traffic.round_uplink_bytes == pytest.approx(clients * mean)
