"""Rounds in a subspace: what clients are sent, and what they make of it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.federated.own_copy import METHOD as PLAIN_METHOD
from tests.federated.own_copy import Site, run

from fedtt import params as p
from fedtt.errors import WireError
from fedtt.federated.aggregate.trimmed_mean import TrimmedMean
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import ClientTask, one_by_one, run_round
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import THETA, Subspace
from fedtt.federated.types import ClientUpdate, ServerState
from fedtt.federated.wire.broadcast import (
    broadcast_for,
    broadcast_length,
    decode_broadcast,
    encode_broadcast,
)
from fedtt.federated.wire.frame import Frame, seal
from fedtt.federated.wire.payload import structure_digest
from fedtt.federated.wire.plain import PLAIN
from fedtt.federated.wire.update import encode_update

PARAMS = {f"layer.core_{j}": torch.randn(2, 30, 2) for j in range(5)} | {"head": torch.randn(40)}
STRUCTURE = p.structure_of(PARAMS)
STATE = ServerState(next_round=0, params=PARAMS)
METHOD = replace(PLAIN_METHOD, subspace=Subspace(size=50, redraw=1, seed=4))


@given(
    schedule=st.sampled_from([*SCHEDULES]),
    dropout=st.sampled_from([0.0, 0.5]),
    redraw=st.integers(0, 3),
    size=st.sampled_from([5, 50, 200, 10**6]),
    seed=st.integers(0, 2**16),
)
def test_a_site_knows_the_global_model_whenever_it_is_called(
    schedule: str, dropout: float, redraw: int, size: int, seed: int
) -> None:
    """Bit for bit, whatever it missed."""
    subspace = Subspace(size=size, redraw=redraw, seed=seed)
    method = replace(METHOD, schedule=SCHEDULES[schedule], subspace=subspace)
    sites = {f"site {i}": Site(PARAMS) for i in range(5)}
    sites["site 0"].known = {}
    cohorts = Cohorts(population=tuple(sites), cohort_size=2, seed=seed, dropout_rate=dropout)
    state = replace(STATE, strangers=frozenset({"site 0"}))
    run(method, sites, cohorts=cohorts, rounds=12, state=state)


def test_who_missed_few_rounds_gets_their_numbers_and_who_missed_many_the_parameters() -> None:
    sites = {name: Site(PARAMS) for name in ("always", "later")}
    both = Cohorts(population=tuple(sites), seed=0)
    one = replace(both, only="always")
    state, _ = run(METHOD, sites, cohorts=one, rounds=2, state=STATE)
    state, _ = run(METHOD, sites, cohorts=both, rounds=1, state=state)
    # What the run begins with it had: two steps bring it to where the others are.
    assert sites["later"].stepped == [2]
    assert sites["always"].sent[0] < 250
    for missed, steps in ((0, 1), (3, 4), (11, 12), (12, 0), (30, 0)):
        state, _ = run(METHOD, sites, cohorts=one, rounds=missed, state=state)
        state, _ = run(METHOD, sites, cohorts=both, rounds=1, state=state)
        assert sites["later"].stepped[-1] == steps, missed
        # 640 parameters against 50 numbers a round, four bytes each.
        expected = 4 * 50 * steps if steps else 4 * 640
        assert expected < sites["later"].sent[-1] < expected + 400, missed
    assert set(sites["always"].stepped[1:]) == {1}
    assert sum(len(step.body) for step in state.steps.values()) < 4 * 640


def test_what_moves_the_parameters_is_the_mean_of_the_clients_numbers() -> None:
    sites = {name: Site(PARAMS) for name in "abc"}
    cohorts = Cohorts(population=tuple(sites), seed=0)
    replies = {}

    def call(task: ClientTask) -> bytes:
        theta = torch.full((50,), float(ord(task.client_id)))
        theta[3] = len(replies)
        replies[task.client_id] = theta
        update = ClientUpdate(
            delta={THETA: theta}, num_examples=len(replies), num_steps=1, loss=1.0
        )
        return encode_update(update)

    state, report = run_round(
        STATE, method=METHOD, cohorts=cohorts, learning_rate=0.1, call_clients=one_by_one(call)
    )
    weights = torch.tensor([1, 2, 3]) / 6
    mean = (torch.stack(list(replies.values())) * weights[:, None]).sum(0)
    assert METHOD.subspace is not None
    change = METHOD.subspace.projection(STRUCTURE, 0).change(mean)
    for name, start in PARAMS.items():
        torch.testing.assert_close(state.params[name], start + change[name])
    assert all(client.uplink_bytes < 4 * 50 + 350 for client in report.clients.values())


def test_a_defense_acts_on_the_numbers() -> None:
    """One liar of three does not move them."""
    method = replace(METHOD, aggregation=TrimmedMean(trim=0.5))
    sizes = iter([1e9, 0.25, 0.25])

    def call(task: ClientTask) -> bytes:
        delta = {THETA: torch.full((50,), next(sizes))}
        return encode_update(ClientUpdate(delta=delta, num_examples=1, num_steps=1, loss=1.0))

    state, _ = run_round(
        STATE,
        method=method,
        cohorts=Cohorts(population=("a", "b", "c"), seed=0),
        learning_rate=0.1,
        call_clients=one_by_one(call),
    )
    assert max(float((state.params[n] - PARAMS[n]).abs().max()) for n in PARAMS) < 0.3


def test_momentum_is_kept_in_a_subspace_that_stays() -> None:
    server = ServerOptimizer(name="fedavgm", momentum=0.5)
    method = replace(METHOD, server=server, subspace=Subspace(size=50, seed=4))
    sites = {"a": Site(PARAMS)}
    cohorts = Cohorts(population=("a",), seed=0)

    def call(task: ClientTask) -> bytes:
        sites["a"].answer(task, seed=0)
        delta = {THETA: torch.ones(50)}
        return encode_update(ClientUpdate(delta=delta, num_examples=1, num_steps=1, loss=1.0))

    state = STATE
    for _ in range(2):
        state, _ = run_round(
            state, method=method, cohorts=cohorts, learning_rate=0.1, call_clients=one_by_one(call)
        )
    numbers = [
        step.numbers(STRUCTURE, subspace=method.subspace, codec=PLAIN)
        for step in state.steps.values()
    ]
    assert [float(one[THETA].mean()) for one in numbers] == [1.0, 1.5]


def test_the_length_is_known_without_the_payload() -> None:
    sites = {"a": Site(PARAMS)}
    state, _ = run(METHOD, sites, cohorts=Cohorts(population=("a",), seed=0), rounds=3, state=STATE)
    state = replace(state, synced_at={"a": 1})
    broadcast = broadcast_for(state, client_id="a", trained=frozenset(PARAMS), pretrained=())
    assert sorted(broadcast.steps) == [1, 2]
    payload = encode_broadcast(broadcast, structure=STRUCTURE)
    assert len(payload) == broadcast_length(broadcast, structure=STRUCTURE)


HEADER = {"codec": "plain", "structure": structure_digest(STRUCTURE)}


@pytest.mark.parametrize(
    ("steps", "numbers"),
    [
        ("1/200", 50),
        ("1/200,3/200", 100),
        ("1/200:03", 50),
        ("1/160:01,2/200", 90),  # the head alone, of 40, has as many numbers as it is long
    ],
)
def test_steps_that_can_be_are_read(steps: str, numbers: int) -> None:
    payload = seal(Frame(header={**HEADER, "steps": steps}, body=bytes(4 * numbers)))
    broadcast = decode_broadcast(payload, structure=STRUCTURE, subspace=METHOD.subspace)
    assert len(broadcast.steps) == steps.count(",") + 1


@pytest.mark.parametrize(
    "steps",
    [
        "", "x", "-1/200", "1/200,", "2/100,1/100", "1/100,1/100", "1/200:", "1/200:00",
        "1/200:ff", "1/200:zz", "9" * 12 + "/200", "٣/200", "1", "1/0", "1/199", "1/201",
        "1/200/200", "1/200,2/200", "1/204", "1/999999999999", "1/160:20", "1/160:01",
        ",".join(f"{index}/1" for index in range(700, 1400)),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_are_refused(steps: str) -> None:
    payload = seal(Frame(header={**HEADER, "steps": steps}, body=bytes(200)))
    with pytest.raises(WireError):
        decode_broadcast(payload, structure=STRUCTURE, subspace=METHOD.subspace)


@pytest.mark.parametrize(
    ("key", "value"), [("codec", "int8"), ("structure", "0" * 32), ("structure", "")]
)
def test_steps_of_another_codec_or_for_other_parameters_are_refused(key: str, value: str) -> None:
    header = {**HEADER, "steps": "1/200", key: value}
    with pytest.raises(WireError, match=r"made (by|for)"):
        decode_broadcast(
            seal(Frame(header=header, body=bytes(200))),
            structure=STRUCTURE,
            subspace=METHOD.subspace,
        )


def test_steps_where_no_run_has_them_are_refused() -> None:
    payload = seal(Frame(header={**HEADER, "steps": "1/2560"}, body=bytes(2560)))
    with pytest.raises(WireError, match="does not have"):
        decode_broadcast(payload, structure=STRUCTURE)
