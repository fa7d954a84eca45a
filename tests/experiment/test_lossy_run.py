"""Runs whose updates lose something on the wire: stopping changes nothing; alone, none do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.experiment.runs import run

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import InterruptedRunError, RunError
from fedtt.experiment import open_run

MakeConfig = Callable[..., RunConfig]
FEEDBACK = {"codec": "sign", "error_feedback": True}


@pytest.mark.parametrize(
    "wire",
    [{"codec": "int4", "downlink": "int4"}, FEEDBACK],
    ids=["int4 both ways", "sign, feedback"],
)
def test_a_resumed_run_ends_with_the_same_bits(
    make_config: MakeConfig, tmp_path: Path, wire: dict
) -> None:
    config = make_config(wire=wire, evaluation={"alone": False, "every": 0})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(config, whole)
    with pytest.raises(InterruptedRunError):
        run(config, stopped, stop_after=13)  # 3 clients x 3 steps a round: in the second
    run(config, stopped)
    states = [(path / "state.safetensors").read_bytes() for path in (whole, stopped)]
    assert states[0] == states[1]
    records = [open_run(path).rounds() for path in (whole, stopped)]
    for key in ("uplink_bytes", "downlink_bytes"):
        sent = [[r[key] for r in rounds] for rounds in records]
        assert sent[0] == sent[1]
    expected = p.structure_of(build_federation(config).initial.params)
    owed = open_run(whole).load_residuals(expected=expected)
    if "error_feedback" not in wire:
        assert owed == {}
        return
    assert sorted(owed) == ["north", "south", "west"]
    assert all(tensor.any() for tensor in owed["north"].values())


def test_feedback_changes_what_is_learned_and_not_what_is_sent(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    quick = {"evaluation": {"alone": False, "every": 0, "test": False}}
    states, sent = [], []
    for feedback in (False, True):
        wire = {"codec": "int4", "rounding": "nearest", "deflate": False}
        path = tmp_path / str(feedback)
        config = make_config(wire={**wire, "error_feedback": feedback}, **quick)
        run(config, path)
        expected = p.structure_of(build_federation(config).initial.params)
        states.append(open_run(path).load_state(expected=expected).params)
        sent.append([record["uplink_bytes"] for record in open_run(path).rounds()])
    assert sent[0] == sent[1]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_clients_alone_lose_nothing(make_config: MakeConfig, tmp_path: Path) -> None:
    options = {"rounds": 1, "evaluation": {"every": 0, "before": False}}
    plain = run(make_config(**options), tmp_path / "plain")
    coarse = run(make_config(**options, wire={"codec": "sign"}), tmp_path / "coarse")
    assert plain["alone"] == coarse["alone"]
    assert plain["test"]["loss"] != coarse["test"]["loss"]
    assert coarse["uplink_bytes"] < plain["uplink_bytes"] / 3  # headers are most of it


def test_what_is_owed_by_parameters_that_there_are_not_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(rounds=1, wire=FEEDBACK, evaluation={"alone": False, "every": 0})
    run(config, tmp_path / "run")
    expected = dict(p.structure_of(build_federation(config).initial.params))
    expected.popitem()
    with pytest.raises(RunError, match="what the clients owe cannot be used"):
        open_run(tmp_path / "run").load_residuals(expected=expected)
