"""A run under client-level privacy: epsilon, budget, resuming, and what nobody is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.experiment import tracked
from tests.experiment.runs import records, run_and_hear

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import ConfigError, RunError
from fedtt.experiment import (
    RunPrepared,
    StepDone,
    create_run,
    plan_privacy,
)
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.federated.aggregate import AGGREGATIONS, MEAN
from fedtt.federated.privacy.accounting import Accounting

CLIENTS = 6
CLIENT = {"clipping_norm": 0.1, "noise_multiplier": 0.8, "delta": 1e-2}
MakeConfig = Callable[..., RunConfig]


def private(make_config: MakeConfig, *, rounds: int = 3, **client: object) -> RunConfig:
    return make_config(
        rounds=rounds,
        track={"to": tracked.TENSORBOARD},
        partition={"kind": "iid", "clients": CLIENTS},
        cohort={"size": 3},
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        server={"weighting": "uniform"},
        evaluation={"every": 0, "test": False},
        privacy={"client": {**CLIENT, **client}},
    )


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def epsilon(rounds: int, *, expected: int = 3, **changes: object) -> float:
    """What dp-accounting says of so many rounds of the config above."""
    table = {"sampling": "poisson", "accountant": "pld", "delta": 1e-2, **changes}
    accounting = Accounting(population=CLIENTS, expected=expected, **table)
    return accounting.epsilon(noise_multiplier=0.8, rounds=rounds)


@pytest.fixture(scope="module")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("private") / "run"
    run_and_hear(private(make_config), path)
    return path


@pytest.mark.skipif(not tracked.TENSORBOARD, reason="pip install 'fedtt[tensorboard]'")
def test_a_tracker_hears_epsilon_and_no_loss(finished: Path) -> None:
    points, _ = tracked.tensorboard(finished)
    spent = [points["privacy/epsilon", after] for after in (1, 2, 3)]
    assert spent == pytest.approx([record["privacy"]["epsilon"] for record in records(finished)])
    assert {name for name, _ in points if "loss" in name} == set()


def test_epsilon_is_said_after_every_round_and_at_the_end(finished: Path) -> None:
    spent = [record["privacy"]["epsilon"] for record in records(finished)]
    assert spent == [epsilon(rounds) for rounds in (1, 2, 3)]
    said = summary(finished)["privacy"]
    assert said["epsilon"] == spent[-1]
    assert (said["delta"], said["noise_multiplier"]) == (1e-2, 0.8)
    assert said["neighbors"] == "one client more or less"
    assert said["stopped"] is None


def test_a_resumed_run_has_the_same_bits_and_goes_on_counting(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    """With the secret of the other run, which a run has from its beginning."""
    config = private(make_config)
    create_run(tmp_path / "run", config, overwrite=False)
    (tmp_path / "run" / SECRET).write_bytes((finished / SECRET).read_bytes())
    run_and_hear(config, tmp_path / "run", stop_after=1)
    events = run_and_hear(config, tmp_path / "run")
    assert next(e for e in events if isinstance(e, RunPrepared)).next_round == 1
    for name in ("state.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()
    assert [r["privacy"] for r in records(tmp_path / "run")] == [
        r["privacy"] for r in records(finished)
    ]


def test_another_secret_is_another_run(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    run_and_hear(private(make_config), tmp_path / "run")
    state = "state.safetensors"
    assert (tmp_path / "run" / state).read_bytes() != (finished / state).read_bytes()


def test_the_secret_is_in_no_other_file_and_in_no_event(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    events = run_and_hear(private(make_config, rounds=2), tmp_path / "run")
    secret = (tmp_path / "run" / SECRET).read_bytes()
    assert len(secret) == 32
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file() and path.name != SECRET:
            content = path.read_bytes()
            assert secret not in content, path
            assert secret.hex().encode() not in content.lower(), path
    assert secret.hex() not in repr(events)
    assert repr(secret) not in repr(events)


def test_what_a_client_said_of_itself_is_recorded_nowhere(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    events = run_and_hear(private(make_config, rounds=2), tmp_path / "run")
    assert not [event for event in events if isinstance(event, StepDone)]
    for record in records(tmp_path / "run"):
        assert record["loss"] is None
        assert record["validation"] is None
        for number, client in record["clients"].items():
            assert number.isdecimal()
            assert client.keys() == {"uplink_bytes", "downlink_bytes"}
    assert summary(tmp_path / "run")["alone"] is None


def test_the_run_stops_before_it_would_spend_more_than_its_budget(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    budget = (epsilon(2) + epsilon(3)) / 2
    config = private(make_config, rounds=5, target_epsilon=budget)
    events = run_and_hear(config, tmp_path / "run", stop_after=1)
    prepared = next(e for e in events if isinstance(e, RunPrepared))
    assert prepared.rounds == 2
    assert any("the privacy budget is for 2 of 5 rounds" in note for note in prepared.privacy)
    run_and_hear(config, tmp_path / "run")  # goes on for one round, and not for two
    assert len(records(tmp_path / "run")) == 2
    said = summary(tmp_path / "run")["privacy"]
    assert said["epsilon"] <= budget
    assert "budget is for 2 of 5 rounds" in said["stopped"]
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    run_and_hear(config, tmp_path / "run")  # and then for none
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state
    assert len(records(tmp_path / "run")) == 2


def test_for_an_epsilon_there_is_as_much_noise_as_it_takes(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config, rounds=2, noise_multiplier=None, target_epsilon=3.0)
    run_and_hear(config, tmp_path / "run")
    said = summary(tmp_path / "run")["privacy"]
    assert 2.9 < said["epsilon"] <= 3.0
    assert said["stopped"] is None
    assert {r["privacy"]["noise_multiplier"] for r in records(tmp_path / "run")} == {
        said["noise_multiplier"]
    }


def test_fixed_samples_and_a_norm_that_follows_the_quantile(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config, sampling="fixed", adaptive={"clip_norm_lr": 0.5})
    run_and_hear(config, tmp_path / "run", stop_after=2)
    run_and_hear(config, tmp_path / "run")
    lines = records(tmp_path / "run")
    assert [len(record["clients"]) for record in lines] == [3, 3, 3]
    norms = [record["privacy"]["clipping_norm"] for record in lines]
    assert norms[0] == 0.1
    assert len(set(norms)) == 3
    spent = [record["privacy"]["epsilon"] for record in lines]
    assert spent == [epsilon(n, sampling="fixed", accountant="rdp") for n in (1, 2, 3)]
    said = summary(tmp_path / "run")["privacy"]
    assert said["neighbors"] == "one client replaced by another"


def test_a_private_run_that_lost_its_secret_is_not_resumed(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config)
    run_and_hear(config, tmp_path / "run", stop_after=1)
    (tmp_path / "run" / SECRET).unlink()
    with pytest.raises(RunError, match=r"secret of a private run is gone(.|\n)*bring the file"):
        run_and_hear(config, tmp_path / "run")


def test_a_run_that_lost_it_before_its_first_round_draws_another(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config, rounds=1)
    create_run(tmp_path / "run", config, overwrite=False)
    run_and_hear(config, tmp_path / "run")
    assert (tmp_path / "run" / SECRET).stat().st_mode & 0o077 == 0


def test_a_state_that_does_not_say_how_private_it_is_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config)
    directory = create_run(tmp_path / "run", config, overwrite=False)
    directory.save_state(build_federation(config).initial)
    with pytest.raises(RunError, match="does not say how private it is"):
        run_and_hear(config, tmp_path / "run")


def plan(make_config: MakeConfig, **client: object) -> Any:
    return plan_privacy(private(make_config, rounds=100, **client), population=CLIENTS)


def test_an_epsilon_that_cannot_be_reached_is_refused_with_what_can_be(
    make_config: MakeConfig,
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(make_config, noise_multiplier=None, target_epsilon=1e-7, delta=1e-9)
    assert "that epsilon cannot be reached" in str(caught.value)
    assert "100 rounds of 3 of 6 clients" in str(caught.value)
    assert "100 rounds come to 0." in str(caught.value)


def test_a_budget_below_the_first_round_is_refused_with_the_noise_it_takes(
    make_config: MakeConfig,
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(make_config, target_epsilon=0.5)
    assert f"the first round alone comes to {epsilon(1):.4g}" in str(caught.value)
    assert "all 100 take noise_multiplier = " in str(caught.value)


def test_a_delta_that_may_show_a_client_is_warned_of(make_config: MakeConfig) -> None:
    notes = plan(make_config, delta=0.1).notes
    assert not [note for note in plan(make_config).notes if "below 1 /" in note]
    assert not [note for note in notes if "below 1 /" in note]  # 0.1 < 1 / 6
    notes = plan_privacy(private(make_config, delta=0.1), population=10).notes
    assert [note for note in notes if "is not below 1 / 10 clients" in note]


def test_so_little_noise_on_the_count_that_it_spends_everything(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"clipped_count_stddev(.|\n)*more than half"):
        plan(make_config, adaptive={"clipped_count_stddev": 0.4})
    assert plan(make_config, adaptive={"clipped_count_stddev": 0.5}).adaptive is not None
    assert plan(make_config, adaptive={}).adaptive.count_deviation == 0.8


@pytest.mark.parametrize("name", ["fedtt-round", "fedex-lora", "flexlora"])
def test_a_method_that_makes_more_of_updates_than_their_mean_is_refused(
    make_config: MakeConfig, name: str
) -> None:
    config = private(make_config).model_dump(mode="json", exclude_none=True)
    method = {"name": name, "rank": 2}
    with pytest.raises(ConfigError, match=rf"and {name} makes more of them(.|\n)*method.name"):
        build_federation(RunConfig.model_validate({**config, "method": method}))


@pytest.mark.parametrize("name", [name for name in AGGREGATIONS if name != MEAN])
def test_a_defense_is_refused(make_config: MakeConfig, name: str) -> None:
    config = private(make_config).model_dump(mode="json", exclude_none=True)
    server = {"aggregation": name, "weighting": "uniform"}
    with pytest.raises(ConfigError, match=rf"and {name} makes more(.|\n)*server.aggregation"):
        build_federation(RunConfig.model_validate({**config, "server": server}))
