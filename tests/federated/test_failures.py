"""A client that fails the same way three times in a row is left out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.federated.own_copy import METHOD, Site

from fedtt import params as p
from fedtt.engine.checkpoint import load_state, save_state
from fedtt.errors import RunError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.failures import Failure, failures_after, left_out
from fedtt.federated.round import ClientReply, ClientTask, FailedReply, one_by_one, run_round
from fedtt.federated.types import RoundReport, ServerState

START = {"a": torch.zeros(3)}
NAMES = ("good", "bad", "late")


def test_alike_and_in_a_row() -> None:
    books: dict[str, Failure] = {}
    for reason in ("x", "x", "y", "y"):
        books = failures_after(books, heard=[], failed={"bad": reason})
    assert books == {"bad": Failure("y", 2)}
    assert failures_after(books, heard=["bad"], failed={}) == {}
    assert failures_after(books, heard=["good"], failed={}) == books
    assert left_out(books) == {}
    assert left_out(failures_after(books, heard=[], failed={"bad": "y"})) == {"bad": "y"}


def play(state: ServerState, *, round_of: Cohorts) -> tuple[ServerState, RoundReport]:
    def call(task: ClientTask) -> ClientReply:
        if task.client_id == "bad":
            return FailedReply(reason="an update is not finite")
        return None if task.client_id == "late" else Site(START).answer(task, seed=1)

    return run_round(
        state,
        method=METHOD,
        cohorts=replace(round_of, left_out=left_out(state.failures)),
        learning_rate=0.1,
        call_clients=one_by_one(call),  # type: ignore[arg-type]
    )


def test_it_is_called_no_more_after_a_restart_too(tmp_path: Path) -> None:
    state, called = ServerState(next_round=0, params=START), []
    for _ in range(5):
        state, report = play(state, round_of=Cohorts(population=NAMES, seed=0))
        called.append({*report.clients, *report.dropped})
        assert report.failed.keys() == report.dropped.keys() - {"late"}
        save_state(tmp_path / "state", state)
        state = load_state(tmp_path / "state", expected=p.structure_of(START))
    assert called == [{*NAMES}] * 3 + [{"good", "late"}] * 2  # who is late may be so for ever
    assert state.failures == {"bad": Failure("an update is not finite", 3)}


@pytest.mark.parametrize("entry", [("x", 0), ("x", True), (1, 1)])
def test_impossible_books_are_no_state(tmp_path: Path, entry: tuple) -> None:
    state = ServerState(next_round=0, params=START, failures={"bad": Failure(*entry)})
    save_state(tmp_path / "state", state)
    with pytest.raises(RunError, match="cannot be used"):
        load_state(tmp_path / "state", expected=p.structure_of(START))
