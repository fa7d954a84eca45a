"""The one copy that all clients of a process share, against what a site of its own would know."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fedtt import params as p
from fedtt.engine import inprocess
from fedtt.engine.inprocess import LocalClients, LocalCopy
from fedtt.federated.round import ClientTask
from fedtt.federated.sent_step import sent_step
from fedtt.federated.subspace import THETA, Subspace
from fedtt.federated.types import ServerState
from fedtt.federated.wire.broadcast import Broadcast, decode_broadcast, encode_broadcast
from fedtt.federated.wire.plain import PLAIN

STATE = ServerState(next_round=0, params={"w": torch.ones(3, 4), "head": torch.tensor([1.0, 2.0])})
WHOLE = p.structure_of(STATE.params)
NARROW = {**WHOLE, "w": p.TensorSpec(shape=(2, 4), dtype=torch.float32)}
CHANGE = (torch.full((3, 1), 2.0), torch.full((1, 4), 3.0))  # adds 6 everywhere


def task(round_index: int, structure: p.Structure = WHOLE) -> ClientTask:
    return ClientTask(
        round_index=round_index, client_id="a", payload=b"", structure=structure, learning_rate=0.1
    )


def news(values: p.Params, *, factored: bool = False) -> Broadcast:
    factors = {"w": CHANGE} if factored else {}
    return Broadcast(values=values, trained=frozenset({"head"}), factors=factors)


def test_a_factored_change_counts_once_however_many_clients_hear_of_it() -> None:
    copy = LocalCopy(STATE)
    copy.update(news({}), task=task(0))
    for _ in range(3):
        known = copy.update(news({}, factored=True), task=task(1))
        assert torch.equal(known["w"], torch.full((3, 4), 7.0))
    again = copy.update(news({}, factored=True), task=task(2))
    assert torch.equal(again["w"], torch.full((3, 4), 13.0))


def test_a_resumed_state_has_the_last_factored_change_already() -> None:
    copy = LocalCopy(ServerState(next_round=5, params=STATE.params))
    assert torch.equal(copy.update(news({}, factored=True), task=task(5))["w"], torch.ones(3, 4))
    assert copy.update(news({}, factored=True), task=task(6))["w"][0, 0] == 7.0


def test_the_steps_of_missed_rounds_count_once_however_many_clients_hear_of_them() -> None:
    """Clients that missed different rounds bring different steps to the copy that they share."""
    subspace = Subspace(size=5, redraw=1)
    numbers = [{THETA: torch.full((5,), float(r))} for r in range(4)]
    steps = {r: sent_step(WHOLE, one, codec=PLAIN, seed=0) for r, one in enumerate(numbers)}
    expected = [STATE.params]
    for index, step in steps.items():
        expected.append(step.apply(expected[-1], subspace=subspace, codec=PLAIN, round_index=index))
    copy = LocalCopy(STATE)
    for now, since in ((1, 0), (1, 0), (3, 1), (3, 0), (3, 2), (4, 0), (4, 3)):
        missed = {r: steps[r] for r in range(since, now)}
        broadcast = Broadcast(values={}, trained=frozenset(WHOLE), steps=missed)
        known = copy.update(broadcast, task=replace(task(now), subspace=subspace))
        assert all(torch.equal(known[name], expected[now][name]) for name in WHOLE), (now, since)
    whole = Broadcast(values=expected[4], trained=frozenset(WHOLE))
    known = copy.update(whole, task=replace(task(5), subspace=subspace))
    assert torch.equal(known["w"], expected[4]["w"])


def test_values_sent_once_are_known_to_the_next_client() -> None:
    copy = LocalCopy(STATE)
    copy.update(news({"head": torch.tensor([5.0, 6.0])}), task=task(1))
    assert copy.update(news({}), task=task(1))["head"].tolist() == [5.0, 6.0]


def test_a_client_of_lower_rank_takes_nothing_from_the_others() -> None:
    copy = LocalCopy(STATE)
    known = copy.update(news({"w": torch.full((2, 4), 9.0)}), task=task(1, NARROW))
    assert known["w"].tolist() == [[9.0] * 4, [9.0] * 4, [0.0] * 4]  # padded, not the global row
    wide = copy.update(news({}), task=task(1))
    assert wide["w"].tolist() == [[9.0] * 4, [9.0] * 4, [1.0] * 4]


def test_a_broadcast_is_decoded_once_for_all_who_are_told_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded = []

    def counting(payload: bytes, **options: Any) -> Broadcast:
        decoded.append(payload)
        return decode_broadcast(payload, **options)

    monkeypatch.setattr(inprocess, "decode_broadcast", counting)
    # Neither the federation nor what clients share is looked at before one trains.
    clients = LocalClients(None, None, STATE, max_tokens=None)  # type: ignore[arg-type]
    first, second = (
        encode_broadcast(news({"head": torch.tensor([x, 2.0])}), structure=WHOLE)
        for x in (5.0, 6.0)
    )
    heard = [
        clients.take_broadcast(replace(task(1, structure), payload=payload))["head"][0].item()
        for payload, structure in [
            (first, WHOLE),
            (bytes(bytearray(first)), dict(WHOLE)),  # equal, not the same objects
            (second, WHOLE),
            (second, NARROW),
            (first, WHOLE),
        ]
    ]
    assert heard == [5.0, 5.0, 6.0, 6.0, 5.0]
    assert decoded == [first, second, second, first]
