"""What clients are sent: against an oracle in which every client keeps its own copy."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.federated.own_copy import METHOD, Site, run

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.aggregate.lora_products import ResidualIntoBase
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import ClientTask, one_by_one, run_round
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.schedules.lora_in_turn import alternate_lora
from fedtt.federated.types import ServerState
from fedtt.federated.wire.broadcast import (
    Broadcast,
    broadcast_for,
    broadcast_length,
    decode_broadcast,
    encode_broadcast,
)
from fedtt.federated.wire.frame import seal, unseal
from fedtt.federated.wire.payload import encode

PARAMS = {f"layer.core_{j}": torch.randn(2, 3, 2) for j in range(5)} | {"head": torch.randn(4)}
STRUCTURE = p.structure_of(PARAMS)
STATE = ServerState(next_round=0, params=PARAMS)


@given(
    schedule=st.sampled_from([*SCHEDULES]),
    dropout=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**16),
)
def test_a_site_knows_the_global_model_whenever_it_is_called(
    schedule: str, dropout: float, seed: int
) -> None:
    """One of the sites is a stranger, who begins with nothing of the run's."""
    method = replace(METHOD, schedule=SCHEDULES[schedule])
    sites = {f"site {i}": Site(PARAMS if i else {}) for i in range(5)}
    cohorts = Cohorts(population=tuple(sites), cohort_size=2, seed=seed, dropout_rate=dropout)
    state = replace(STATE, strangers=frozenset({"site 0"}))
    _, reports = run(method, sites, cohorts=cohorts, rounds=12, state=state)
    assert all(len(report.clients) + len(report.dropped) == 2 for report in reports)
    assert dropout or any(site.sent for site in sites.values())


def test_a_client_that_was_there_gets_only_what_changed() -> None:
    state = replace(
        STATE,
        next_round=5,
        changed_at={"layer.core_1": 4, "head": 3},
        synced_at={"old": 2, "new": 4},
    )
    trained = frozenset({"head"})

    def sent(client: str) -> set[str]:
        return set(broadcast_for(state, client_id=client, trained=trained, pretrained=()).values)

    assert sent("new") == {"layer.core_1"}
    assert sent("old") == {"layer.core_1", "head"}
    assert sent("unheard") == {"layer.core_1", "head"}  # it has what the run began with
    state = replace(state, strangers=frozenset({"stranger"}))
    assert sent("unheard") == {"layer.core_1", "head"}
    assert sent("stranger") == set(PARAMS)
    known = broadcast_for(
        state, client_id="stranger", trained=trained, pretrained={"head", "layer.core_0"}
    )
    assert set(known.values) == set(PARAMS) - {"layer.core_0"}  # head has changed since


def test_a_round_in_which_nobody_answers_changes_nothing_but_the_count() -> None:
    def call(task: ClientTask) -> bytes:
        raise AssertionError("nobody should be called")

    state, report = run_round(
        STATE,
        method=METHOD,
        cohorts=Cohorts(population=("a", "b"), seed=0, dropout_rate=1 - 1e-12),
        learning_rate=0.1,
        call_clients=one_by_one(call),
    )
    assert state == replace(STATE, next_round=1)
    assert report.loss is None
    assert report.uplink_bytes == 0
    assert report.downlink_bytes == sum(report.dropped.values()) > 0


@given(
    sent=st.sets(st.sampled_from(sorted(PARAMS))),
    trained=st.sets(st.sampled_from(sorted(PARAMS)), min_size=1),
)
def test_payloads_come_back_and_their_length_is_known_before(
    sent: set[str], trained: set[str]
) -> None:
    broadcast = Broadcast(values=p.select(PARAMS, sent), trained=frozenset(trained))
    payload = encode_broadcast(broadcast, structure=STRUCTURE)
    assert len(payload) == broadcast_length(broadcast, structure=STRUCTURE)
    back = decode_broadcast(payload, structure=STRUCTURE)
    assert back.trained == trained
    assert back.values.keys() == sent
    assert all(torch.equal(back.values[name], PARAMS[name]) for name in sent)


def test_a_payload_of_everything_has_no_word_about_it() -> None:
    broadcast = Broadcast(values=PARAMS, trained=frozenset(PARAMS))
    payload = encode_broadcast(broadcast, structure=STRUCTURE)
    assert b"sent" not in payload
    assert b"trained" not in payload


WEIGHT = {"w": torch.zeros(6, 5), "head": torch.zeros(2)}


def factored(rank: int) -> Broadcast:
    pair = (torch.randn(6, rank), torch.randn(rank, 5))
    return Broadcast(values={}, trained=frozenset({"head"}), factors={"w": pair})


def test_factors_are_added_to_what_the_client_knows() -> None:
    broadcast = factored(2)
    payload = encode_broadcast(broadcast, structure=p.structure_of(WEIGHT))
    assert len(payload) == broadcast_length(broadcast, structure=p.structure_of(WEIGHT))
    known = {"w": torch.ones(6, 5), "head": torch.zeros(2)}
    after = decode_broadcast(payload, structure=p.structure_of(WEIGHT)).apply(known)
    left, right = broadcast.factors["w"]
    assert torch.equal(after["w"], 1 + left @ right)
    assert torch.equal(known["w"], torch.ones(6, 5))


def test_only_a_client_of_the_round_before_gets_factors() -> None:
    state = ServerState(
        next_round=3,
        params=WEIGHT,
        changed_at={"w": 2},
        synced_at={"there": 2, "away": 1},
        factors=factored(2).factors,
    )

    def made(client: str) -> Broadcast:
        return broadcast_for(state, client_id=client, trained=frozenset(), pretrained={"w"})

    assert (set(made("there").values), set(made("there").factors)) == (set(), {"w"})
    assert (set(made("away").values), set(made("away").factors)) == ({"w"}, set())
    assert (set(made("new").values), set(made("new").factors)) == ({"w"}, set())
    state = replace(state, strangers=frozenset({"new"}))
    assert (set(made("new").values), set(made("new").factors)) == ({"w", "head"}, set())
    large = replace(state, factors=factored(3).factors)  # 33 numbers for 30
    broadcast = broadcast_for(large, client_id="there", trained=frozenset(), pretrained={"w"})
    assert (set(broadcast.values), set(broadcast.factors)) == ({"w"}, set())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("rank", "9", "impossible rank"),
        ("rank", "x", "impossible rank"),
        ("factored", "1", "impossible rank"),
        ("factored", "8", "more parameters"),
        ("sent", "z", "not one bit a parameter"),
        ("sent", "3", "made for other parameters"),
    ],
)
def test_implausible_broadcasts_are_refused(key: str, value: str, reason: str) -> None:
    frame = unseal(encode_broadcast(factored(2), structure=p.structure_of(WEIGHT)))
    assert key in frame.header
    payload = seal(replace(frame, header={**frame.header, key: value}))
    with pytest.raises(WireError, match=reason):
        decode_broadcast(payload, structure=p.structure_of(WEIGHT))


def test_fedex_base_weights_reach_every_client_exactly() -> None:
    """Sampled cohorts: some clients get factors, some the whole weight, all the same bits."""
    pair = {
        "q.lora_A.default.weight": torch.randn(1, 12),
        "q.lora_B.default.weight": torch.zeros(9, 1),
    }
    base = {"q.base_layer.weight": torch.randn(9, 12)}
    start = ServerState(next_round=0, params={**pair, **base})
    method = replace(METHOD, aggregation=ResidualIntoBase(scale=2.0), shifts_base=True)
    sites = {f"site {i}": Site(start.params) for i in range(4)}
    state, kinds = start, set()
    for index in range(10):
        before = state

        def call(task: ClientTask, before: ServerState = before, index: int = index) -> bytes:
            site = sites[task.client_id]
            broadcast = decode_broadcast(task.payload, structure=task.structure)
            kinds.add((bool(broadcast.factors), "q.base_layer.weight" in broadcast.values))
            assert "q.base_layer.weight" not in broadcast.trained
            reply = site.answer(task, seed=index * 7 + len(task.client_id))
            for name, value in before.params.items():
                assert torch.equal(site.known[name], value)
            return reply

        state, _ = run_round(
            state,
            method=method,
            cohorts=Cohorts(population=tuple(sites), cohort_size=2, seed=1),
            learning_rate=0.1,
            call_clients=one_by_one(call),
        )
    assert kinds == {(False, False), (True, False), (False, True)}
    assert not torch.equal(state.params["q.base_layer.weight"], base["q.base_layer.weight"])


def test_rolora_sends_half_after_the_first_round() -> None:
    names = {
        "q.lora_A.default.weight": torch.randn(4, 50),
        "q.lora_B.default.weight": torch.zeros(50, 4),
    }
    method = replace(METHOD, schedule=alternate_lora)
    sites = {"a": Site(names), "b": Site(names)}
    state, sizes = ServerState(next_round=0, params=names), []
    for index in range(4):
        state, report = run_round(
            state,
            method=method,
            cohorts=Cohorts(population=tuple(sites), seed=0),
            learning_rate=0.1,
            call_clients=one_by_one(
                lambda task, index=index: sites[task.client_id].answer(task, seed=index)
            ),
        )
        sizes.append((report.clients["a"].uplink_bytes, report.clients["a"].downlink_bytes))
    assert all(800 < uplink < 1200 for uplink, _ in sizes)
    assert sizes[0][1] < 200  # both have drawn what the run begins with
    assert all(800 < downlink < 1200 for _, downlink in sizes[1:])


@pytest.mark.parametrize("rank", ["9" * 5000, "1" * 10, "-1", "1.0", "٣", ""])
def test_a_rank_that_is_no_small_number_is_refused(rank: str) -> None:
    structure = p.structure_of({"w": torch.zeros(4, 4)})
    payload = encode({}, metadata={"sent": "0", "factored": "1", "rank": rank})
    with pytest.raises(WireError, match="impossible rank"):
        decode_broadcast(payload, structure=structure)
