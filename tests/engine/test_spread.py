"""A run over two processes is the run of one: the leader and its helper as two threads."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import torch
from tests.engine import every_task

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine import between_processes as spread
from fedtt.engine.between_processes import help_leader, judge_between, spread_clients, stop_helpers
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.error_feedback import RememberingClients
from fedtt.engine.evaluation import join_judged, judge, judge_share
from fedtt.engine.inprocess import LocalClients, local_clients
from fedtt.engine.processes import Message, Processes, _pack, _unpack
from fedtt.engine.turn import Turn
from fedtt.errors import DivergenceError, FedttError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import CallClients, ClientTask, run_round
from fedtt.federated.types import RoundReport, ServerState

MakeConfig = Callable[..., RunConfig]
ROUNDS = 4


@dataclass(frozen=True, kw_only=True)
class Threads(Processes):
    """Processes whose messages go through queues, packed and unpacked as ever."""

    queues: dict[tuple[int, int], Queue]

    def send(self, message: Message, *, to: int) -> None:
        self.queues[self.rank, to].put(_pack(message))

    def receive(self, *, source: int) -> Message:
        header, body = self.queues[source, self.rank].get(timeout=120)
        return _unpack(body, int(header[0]), source=source)


def threads() -> tuple[Threads, Threads]:
    queues: dict[tuple[int, int], Queue] = {(0, 1): Queue(), (1, 0): Queue()}
    return Threads(rank=0, size=2, queues=queues), Threads(rank=1, size=2, queues=queues)


def clients(
    federation: Federation, state: ServerState, *, max_tokens: int | None = 256
) -> LocalClients:
    return local_clients(federation, state=state, seed=3, max_tokens=max_tokens)


def run(
    federation: Federation, call: Callable[[ServerState], CallClients], *, size: int
) -> tuple[ServerState, list[RoundReport]]:
    state, reports = federation.initial, []
    call_clients = call(state)
    for _ in range(ROUNDS):
        state, report = run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, cohort_size=size, seed=3),
            learning_rate=0.01,
            call_clients=call_clients,
        )
        reports.append(report)
    return state, reports


@contextmanager
def helped(config: RunConfig, *, max_tokens: int | None = 256) -> Iterator[Processes]:
    """The leader's end, while another process's part runs beside: its own federation."""
    leader, helper = threads()
    federation = build_federation(config)
    thread = threading.Thread(
        target=help_leader,
        args=(helper, federation),
        kwargs={
            "start_clients": lambda state: clients(federation, state, max_tokens=max_tokens),
            "before_batch": None,
        },
    )
    thread.start()
    try:
        yield leader
    finally:
        stop_helpers(leader)
        thread.join(timeout=120)
    assert not thread.is_alive()


METHODS: dict[str, dict] = {
    "fedtt": {"name": "fedtt", "rank": 2, "bottleneck": 8},
    "cycle": {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "cycle"},
    "adaptive": {"name": "fedtt+", "rank": 2, "bottleneck": 8, "schedule": "adaptive"},
    "round": {"name": "fedtt-round", "rank": 2, "bottleneck": 8},
    "fedex": {"name": "fedex-lora", "rank": 2},
    "mixed": {"name": "flexlora", "rank": 4, "ranks": [2, 4]},
}


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one(make_config: MakeConfig, name: str) -> None:
    # Three of five clients a round: who is called where changes, and what they missed with it.
    config = make_config(
        method=METHODS[name],
        partition={"kind": "iid", "clients": 5},
        model={**make_config().model.model_dump(exclude_none=True), "dropout": 0.0},
    )
    federation = build_federation(config)
    expected, one = run(federation, lambda state: clients(federation, state), size=3)
    with helped(config) as leader:

        def between(state: ServerState) -> CallClients:
            return spread_clients(leader, clients(federation, state), state)

        state, two = run(federation, between, size=3)
    for name_, tensor in expected.params.items():
        torch.testing.assert_close(state.params[name_], tensor, atol=2e-5, rtol=1e-4)
    assert [list(r.clients) for r in two] == [list(r.clients) for r in one]
    assert [r.uplink_bytes for r in two] == [r.uplink_bytes for r in one]
    assert [r.downlink_bytes for r in two] == [r.downlink_bytes for r in one]
    assert state.synced_at == expected.synced_at


@pytest.mark.parametrize("codec", ["sign", pytest.param("int2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("feedback", [False, True], ids=["by chance", "with feedback"])
def test_a_codec_between_two_processes_is_that_of_one(
    make_config: MakeConfig, codec: str, feedback: bool
) -> None:
    config = make_config(
        partition={"kind": "iid", "clients": 5},
        wire={"codec": codec, "block": 16, "error_feedback": feedback},
        method=METHODS["cycle"],
        model={**make_config().model.model_dump(exclude_none=True), "dropout": 0.0},
    )
    federation = build_federation(config)
    owed: tuple[dict, dict] = ({}, {})

    def remembering(call: CallClients, residuals: dict) -> CallClients:
        if not feedback:
            return call
        return RememberingClients(clients=call, residuals=residuals, seed=3)

    def alone(state: ServerState) -> CallClients:
        return remembering(clients(federation, state, max_tokens=None), owed[0])

    expected, one = run(federation, alone, size=5)
    with helped(config, max_tokens=None) as leader:

        def between(state: ServerState) -> CallClients:
            local = clients(federation, state, max_tokens=None)
            return remembering(spread_clients(leader, local, state), owed[1])

        state, two = run(federation, between, size=5)
    assert all(torch.equal(state.params[n], tensor) for n, tensor in expected.params.items())
    assert [r.uplink_bytes for r in two] == [r.uplink_bytes for r in one]
    assert owed[0].keys() == owed[1].keys()
    assert len(owed[0]) == 5 * feedback
    for client_id, residual in owed[0].items():
        assert any(tensor.any() for tensor in residual.values())
        assert all(torch.equal(owed[1][client_id][n], t) for n, t in residual.items())


def test_a_measurement_between_two_is_that_of_one(make_config: MakeConfig) -> None:
    config = make_config()
    federation = build_federation(config)
    p.write_params(federation.model, federation.initial.params)
    data = federation.held("test")
    expected = judge(federation.model, federation.task, data, batch_size=4)
    with helped(config) as leader:
        shares = judge_between(
            leader,
            federation,
            federation.initial.params,
            split="test",
            client_id=None,
            batch_size=4,
            before_batch=None,
        )
    assert all(len(share.rows) for share in shares)
    found = join_judged(shares, sizes={name: len(texts) for name, texts in data.items()})
    assert list(found) == list(expected)
    for name, outcomes in expected.items():
        for key, values in outcomes.items():
            np.testing.assert_allclose(found[name][key], values, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tasks")


ALIKE = [name for name in every_task.NAMES if name not in every_task.DIFFERENT]


@pytest.mark.parametrize(
    "name", [*every_task.DIFFERENT, *(pytest.param(name, marks=pytest.mark.slow) for name in ALIKE)]
)
def test_every_task_is_measured_between_two_as_by_one(
    name: str, folder: Path, tiny_bert: Path, tiny_llama: Path
) -> None:
    """All kinds and all metrics: groups have names and targets, which are no arrays of numbers."""
    config = every_task.task_config(name, folder=folder, bert=tiny_bert, llama=tiny_llama)
    federation = build_federation(config)
    one = every_task.measured(federation, None)
    with helped(config) as leader:
        two = every_task.measured(federation, leader)
    every_task.check_same(one, two, where=name)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_shares_hold_every_example_once(make_config: MakeConfig, size: int) -> None:
    federation = build_federation(make_config())
    data = federation.held("validation")
    shares = [
        judge_share(
            federation.model, federation.task, data, batch_size=4, turn=Turn(rank=r, size=size)
        )
        for r in range(size)
    ]
    rows = np.concatenate([share.rows for share in shares])
    assert sorted(rows.tolist()) == list(range(sum(map(len, data.values()))))
    sizes = {name: len(texts) for name, texts in data.items()}
    whole = judge(federation.model, federation.task, data, batch_size=4)
    for name, outcomes in join_judged(shares, sizes=sizes).items():
        for key, values in outcomes.items():
            np.testing.assert_array_equal(values, whole[name][key])


def test_what_goes_wrong_at_a_helper_is_raised_by_the_leader(make_config: MakeConfig) -> None:
    config = make_config(client={"steps": 2, "batch_size": 8, "optimizer": "sgd"})
    federation = build_federation(config)
    state = federation.initial
    with (
        helped(config) as leader,
        pytest.raises(DivergenceError, match=r"client (north|south|west)"),
    ):
        run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, seed=3),
            learning_rate=1e30,
            call_clients=spread_clients(leader, clients(federation, state), state),
        )


def test_a_message_arrives_as_it_was() -> None:
    message = Message(content={"a": [1, "ü"], "b": None}, blobs=[b"", b"\x00\xff", b"x" * 1000])
    header, body = _pack(message)
    assert _unpack(body, int(header[0]), source=1) == message
    empty = Message(content={})
    header, body = _pack(empty)
    assert _unpack(body, int(header[0]), source=1) == Message(content={}, blobs=[])


@pytest.mark.parametrize("sizes", [[5, -3], [1], [2, 2]])
def test_a_message_whose_parts_do_not_add_up_is_refused(sizes: list[int]) -> None:
    described = json.dumps({"content": {}, "sizes": sizes}).encode()
    body = torch.frombuffer(bytearray(described + b"abc"), dtype=torch.uint8)
    with pytest.raises(FedttError, match=r"process 7(.|\n)*do not add up"):
        _unpack(body, len(described), source=7)


def test_large_broadcasts_are_dealt_out_in_smaller_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(length: int) -> list[int]:
        task = ClientTask(
            round_index=0, client_id="a", payload=b"x" * length, structure={}, learning_rate=0.1
        )
        return [len(block) for block in spread._blocks([task] * 300, size=2)]

    monkeypatch.setattr(spread, "BYTES_EACH", 1000)
    assert sizes(1) == [128, 128, 44]
    assert sizes(100) == [20] * 15
    assert sizes(5000) == [2] * 150


def test_a_helper_waits_while_the_leader_works_alone(make_config: MakeConfig) -> None:
    with helped(make_config()) as leader:
        for _ in range(3):
            spread.keep_waiting(leader)
