"""A run under example-level privacy: each client's noise and epsilon, budgets, and resuming."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.experiment.runs import records, run_and_hear
from tests.sites.in_process import federation_of

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.engine.build_checks import check_secret_here
from fedtt.errors import ConfigError, RunError
from fedtt.experiment import (
    RunPrepared,
    StepDone,
    begin_new,
    create_run,
    plan_examples,
)
from fedtt.experiment.private_examples import Calls
from fedtt.experiment.run_secret import FILE as SECRET
from fedtt.federated.cohort import Cohorts
from fedtt.federated.privacy.accounting import Accounting

EXAMPLE = {"clipping_norm": 0.2, "noise_multiplier": 0.9, "delta": 1e-3, "accountant": "rdp"}
CLIENT = {"steps": 2, "batch_size": 4, "learning_rate": 1e-2}
MakeConfig = Callable[..., RunConfig]


def private(
    make_config: MakeConfig,
    *,
    rounds: int = 3,
    section: dict[str, Any] | None = None,
    **example: object,
) -> RunConfig:
    changes = {
        "rounds": rounds,
        "client": CLIENT,
        "evaluation": {"every": 0, "test": False},
        "privacy": {"example": {**EXAMPLE, **example}},
        **(section or {}),
    }
    return make_config(**changes)


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())["example_privacy"]


def sizes(config: RunConfig) -> dict[str, int]:
    train = federation_of(config).splits["train"]
    return {client: len(train[client]) for client in train.parts.names}


def epsilon(examples: int, *, rounds: int, noise: float = 0.9) -> float:
    """What dp-accounting says of two steps a round with four examples on average."""
    own = Accounting(
        sampling="poisson", accountant="rdp", population=examples, expected=4, delta=1e-3
    )
    return own.epsilon(noise_multiplier=noise, rounds=2 * rounds)


@pytest.fixture(scope="module")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "run"
    run_and_hear(private(make_config), path, build=federation_of)
    return path


def test_epsilon_of_every_client_is_said_after_every_round_and_at_the_end(
    make_config: MakeConfig, finished: Path
) -> None:
    of = sizes(private(make_config))
    assert len(set(of.values())) == 3
    for done, record in enumerate(records(finished), start=1):
        own = {client: epsilon(count, rounds=done) for client, count in of.items()}
        assert record["example_privacy"]["clients"] == own
        assert record["example_privacy"]["epsilon"] == max(own.values()) == own["north"]
        assert record["loss"] is None
        assert all("loss" not in client for client in record["clients"].values())
    said = summary(finished)
    assert said["epsilon"] == own["north"]
    assert said["clients"]["west"] == {
        "epsilon": own["west"],
        "noise_multiplier": 0.9,
        "rounds": 3,
    }
    assert said["neighbors"] == "one training example of a client more or less"
    assert said["stopped"] is None


def test_a_resumed_run_has_the_same_bits_and_goes_on_counting(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    config = private(make_config)
    create_run(tmp_path / "run", config, overwrite=False)
    (tmp_path / "run" / SECRET).write_bytes((finished / SECRET).read_bytes())
    events = run_and_hear(config, tmp_path / "run", stop_after=1, build=federation_of)
    assert not [event for event in events if isinstance(event, StepDone)]
    run_and_hear(config, tmp_path / "run", build=federation_of)
    state = "state.safetensors"
    assert (tmp_path / "run" / state).read_bytes() == (finished / state).read_bytes()
    assert [r["example_privacy"] for r in records(tmp_path / "run")] == [
        r["example_privacy"] for r in records(finished)
    ]


@pytest.mark.slow
def test_another_secret_is_another_run_and_a_lost_one_ends_it(
    make_config: MakeConfig, finished: Path, tmp_path: Path
) -> None:
    config, path = private(make_config), tmp_path / "run"
    run_and_hear(config, path, stop_after=1, build=federation_of)
    state = "state.safetensors"
    assert (path / state).read_bytes() != (finished / state).read_bytes()
    assert (path / SECRET).stat().st_mode & 0o077 == 0
    (path / SECRET).unlink()
    with pytest.raises(RunError, match=r"secret of a private run is gone(.|\n)*bring the file"):
        run_and_hear(config, path, build=federation_of)


def test_a_client_takes_no_part_once_its_budget_is_spent(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """North, with the fewest examples, is done first; when nobody is left, the run is."""
    of = sizes(private(make_config))
    budget = (
        epsilon(of["north"], rounds=1, noise=0.5) + epsilon(of["north"], rounds=2, noise=0.5)
    ) / 2
    config = private(make_config, rounds=9, noise_multiplier=0.5, target_epsilon=budget)
    path = tmp_path / "run"
    events = run_and_hear(config, path, stop_after=2, build=federation_of)
    prepared = next(e for e in events if isinstance(e, RunPrepared))
    assert any("north (1)" in note for note in prepared.privacy)
    run_and_hear(config, path, build=federation_of)  # goes on counting where it was
    took_part = [set(record["clients"]) for record in records(path)]
    rounds = {client: sum(client in names for names in took_part) for client in of}
    assert rounds["north"] == 1 < rounds["west"] < rounds["south"] == len(took_part) < 9
    for client, count in of.items():
        assert epsilon(count, rounds=rounds[client], noise=0.5) <= budget
        assert epsilon(count, rounds=rounds[client] + 1, noise=0.5) > budget
    said = summary(path)
    assert budget * 0.5 < said["epsilon"] <= budget
    assert said["stopped"] == f"after {len(took_part)} of 9 rounds no client's budget is left"


def test_with_secure_sums_a_run_ends_once_too_few_have_budget_left(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """North is done after one round, and two make no sum."""
    of = sizes(private(make_config))
    budget = (
        epsilon(of["north"], rounds=1, noise=0.5) + epsilon(of["north"], rounds=2, noise=0.5)
    ) / 2
    example = {**EXAMPLE, "noise_multiplier": 0.5, "target_epsilon": budget}
    both = {"example": example, "secure_aggregation": {}}
    config = private(make_config, rounds=9, section={"privacy": both})
    path = tmp_path / "run"
    run_and_hear(config, path, build=federation_of)
    assert [set(record["clients"]) for record in records(path)] == [set(of)]
    expected = "after 1 of 9 rounds fewer clients have budget left than a secure sum takes"
    assert summary(path)["stopped"] == expected
    run_and_hear(config, path, build=federation_of)  # over, and stays so


def test_budgets_that_leave_no_sum_for_the_first_round_are_refused_with_what_could_be(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """North has not the budget for one round, and two make no sum."""
    own = {client: epsilon(count, rounds=1, noise=0.5) for client, count in
           sizes(private(make_config)).items()}  # fmt: skip
    budget = (own["north"] + own["west"]) / 2
    assert own["south"] < own["west"] < budget < own["north"]
    for target, fits in [(budget, False), (own["north"] * 1.001, True)]:
        example = {**EXAMPLE, "noise_multiplier": 0.5, "target_epsilon": target}
        both = {"example": example, "secure_aggregation": {}}
        config = private(make_config, rounds=9, section={"privacy": both})
        path = tmp_path / str(fits)
        if fits:
            assert begin_new(config, federation_of, place=path).directory.path.exists()
            continue
        message = rf"too few clients for the first(.|\n)*2 of 3(.|\n)*= {own['north']:.4g} or more"
        with pytest.raises(ConfigError, match=message):
            begin_new(config, federation_of, place=path)
        assert not path.exists()


def test_calls_are_counted_from_where_they_were() -> None:
    cohorts = Cohorts(population=tuple("abcdef"), cohort_size=2, dropout_rate=0.3, seed=5)
    calls, fresh = (Calls(cohorts, most={"a": 2, "c": 1}) for _ in range(2))
    for rounds in (3, 4, 4, 9, 2, 30):
        again = Calls(cohorts, most={"a": 2, "c": 1}).counts(rounds)
        assert calls.counts(rounds) == again
    assert calls.counts(30)["a"] == 2
    assert calls.counts(30) == fresh.counts(30)


@pytest.mark.slow
def test_for_an_epsilon_every_client_has_the_noise_that_it_takes(
    make_config: MakeConfig,
) -> None:
    config = private(make_config, noise_multiplier=None, target_epsilon=2.0)
    of = sizes(config)
    plan = plan_examples(config, examples=of)
    assert plan is not None
    noise = plan.noise_multipliers
    assert noise["north"] > noise["west"] > noise["south"]
    for client, count in of.items():
        assert 1.99 < epsilon(count, rounds=3, noise=noise[client]) <= 2.0
    assert plan.limited == {}
    kept = plan_examples(config, examples=of, noises={"north": 7.0})
    assert kept is not None
    assert kept.noise_multipliers["north"] == 7.0  # a run goes on with what it began with


def test_an_epsilon_that_cannot_be_reached_is_refused_with_what_can_be(
    make_config: MakeConfig,
) -> None:
    config = private(make_config, noise_multiplier=None, target_epsilon=1e-7, delta=1e-9)
    with pytest.raises(ConfigError) as caught:
        plan_examples(config, examples={"north": 30})
    assert "that epsilon cannot be reached" in str(caught.value)
    assert "3 rounds of 2 steps with 4 of 30 examples" in str(caught.value)
    assert "they come to 0." in str(caught.value)
    config = private(make_config, target_epsilon=0.01)
    with pytest.raises(ConfigError) as caught:
        plan_examples(config, examples={"north": 30, "south": 60})
    assert f"the first round alone comes to {epsilon(60, rounds=1):.4g}" in str(caught.value)
    assert "examples, 60; all 3 take noise_multiplier = " in str(caught.value)


def test_a_delta_that_may_show_an_example_is_warned_of(make_config: MakeConfig) -> None:
    def notes(count: int) -> str:
        plan = plan_examples(private(make_config), examples={"north": count})
        assert plan is not None
        return " ".join(plan.notes)

    assert "is not below" not in notes(999)
    assert "is not below 1 over the examples of north" in notes(1000)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client": {**CLIENT, "logit_adjustment": 1.0}}, "client.logit_adjustment: an example"),
        ({"evaluation": {"alone": True}}, "evaluation.alone: to train every client once more"),
    ],
)
def test_what_would_not_be_hidden_is_refused(
    make_config: MakeConfig, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"does not go with {reason}"):
        make_config(privacy={"example": EXAMPLE}, **changes)


@pytest.mark.parametrize("section", ["model", "method"])
def test_dropout_is_refused_by_name(make_config: MakeConfig, section: str) -> None:
    """A mask depends on an example's place among the others of its batch."""
    config = private(make_config)
    method = {"name": "lora", "rank": 2, "dropout": 0.1 if section == "method" else 0.0}
    model = config.model.model_dump(exclude_none=True)
    if section == "model":
        del model["dropout"]  # the base model's own
    config = private(make_config, section={"model": model, "method": method})
    with pytest.raises(ConfigError, match=rf"with dropout(.|\n)*fix: {section}.dropout = 0.0"):
        build_federation(config)


def test_under_torchrun_it_is_refused_by_name(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"where the secret is(.|\n)*privacy.example"):
        check_secret_here(private(make_config), elsewhere="2 processes")


@pytest.mark.slow
def test_with_client_level_privacy_too_nobody_is_named(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """Both hold: clipping and noise of the server's come after those of the clients."""
    table = private(make_config, rounds=2).model_dump(mode="json", exclude_none=True)
    table["privacy"]["client"] = {"clipping_norm": 0.1, "noise_multiplier": 0.8, "delta": 1e-2}
    table["server"] = {"weighting": "uniform"}
    table["cohort"] = {"size": 2}
    config, path = RunConfig.model_validate(table), tmp_path / "run"
    run_and_hear(config, path, build=federation_of)
    lines, of = records(path), sizes(config)
    for done, record in enumerate(lines, start=1):
        assert record["privacy"]["epsilon"] > 0
        assert record["example_privacy"].keys() == {"epsilon", "delta"}
        # As if every client had been called in every round.
        assert record["example_privacy"]["epsilon"] == epsilon(min(of.values()), rounds=done)
    assert "clients" not in summary(path)
