"""Schedules as functions of the state: what trains when, and that no round is dead."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.schedules.lora_in_turn import alternate_lora
from fedtt.federated.schedules.tensor_train_cores import adaptive, cycle, ends_and_cycle
from fedtt.federated.types import ServerState

DOWN, UP = "block.0.down.default", "block.0.up.default"
NAMES = [f"{layer}.core_{j}" for layer in (DOWN, UP) for j in range(5)] + ["head.weight"]
START = ServerState(next_round=0, params={name: torch.zeros(1) for name in NAMES})


def rounds(schedule, count: int, *, progress: dict[str, float] | None = None) -> Iterator[set[str]]:
    """The schedule's choices, the books kept as the server's step keeps them."""
    state = START
    for index in range(count):
        trained = schedule(state)
        yield set(trained)
        state = replace(
            state,
            next_round=index + 1,
            changed_at={**state.changed_at, **dict.fromkeys(trained, index)},
            progress={**state.progress, **{n: (progress or {}).get(n, 1.0) for n in trained}},
        )


def cores(trained: set[str], layer: str) -> list[int]:
    return sorted(int(n.rpartition("_")[2]) for n in trained if n.startswith(layer))


def test_cycle_goes_backwards_from_the_core_that_starts_at_zero() -> None:
    chosen = [cores(trained, UP) for trained in rounds(cycle, 7)]
    assert chosen == [[4], [3], [2], [1], [0], [4], [3]]


def test_ends_and_cycle_trains_both_ends_and_one_inner_core() -> None:
    chosen = [cores(trained, UP) for trained in rounds(ends_and_cycle, 4)]
    assert chosen == [[0, 3, 4], [0, 2, 4], [0, 1, 4], [0, 3, 4]]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_trains_the_head_always_and_every_core_sometimes(name: str) -> None:
    seen = set()
    for trained in rounds(SCHEDULES[name], 5):
        assert "head.weight" in trained
        assert trained <= set(NAMES)
        seen |= trained
    assert seen == set(NAMES)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_first_round_trains_the_core_that_starts_at_zero(name: str) -> None:
    assert f"{UP}.core_4" in next(rounds(SCHEDULES[name], 1))


def test_adaptive_with_equal_gains_is_the_cycle() -> None:
    assert list(rounds(adaptive, 12)) == list(rounds(cycle, 12))


def test_adaptive_comes_back_sooner_to_what_moves_the_model_and_forgets_nothing() -> None:
    gains = {f"{UP}.core_1": 3.0}
    chosen = [cores(trained, UP)[0] for trained in rounds(adaptive, 65, progress=gains)]
    assert chosen[:5] == [4, 3, 2, 1, 0]
    late = chosen[5:]
    assert late.count(1) > 1.5 * max(late.count(j) for j in (0, 2, 3, 4))
    assert all(late.count(j) >= 5 for j in range(5))


def test_a_train_of_one_or_two_cores_has_a_schedule_too() -> None:
    for count in (1, 2):
        names = [f"up.core_{j}" for j in range(count)]
        state = replace(START, params={name: torch.zeros(1) for name in names})
        for schedule in (SCHEDULES[name] for name in SCHEDULES):
            assert schedule(state) <= set(names)
            assert f"up.core_{count - 1}" in schedule(state)


def test_lora_alternates_b_first() -> None:
    names = ["q.lora_A.default.weight", "q.lora_B.default.weight", "head"]
    state = replace(START, params={name: torch.zeros(1) for name in names})
    assert alternate_lora(state) == {names[1], "head"}
    assert alternate_lora(replace(state, next_round=1)) == {names[0], "head"}
