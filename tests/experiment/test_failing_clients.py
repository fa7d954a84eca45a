"""A client of this process that cannot train: the others go on, soon without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.experiment.runs import records, run_and_hear

from fedtt.config import RunConfig
from fedtt.engine import client_work, cohort_work
from fedtt.errors import DivergenceError, SitesError
from fedtt.experiment import SiteNews

MakeConfig = Callable[..., RunConfig]


def failing(monkeypatch: pytest.MonkeyPatch, bad: tuple[str, ...]) -> None:
    """Clients by those names diverge, alone and together with others."""
    alone, together = client_work.train_locally, cohort_work.train_cohort

    def check(*clients: object) -> None:
        for client in clients:
            if client.where.partition("client ")[2] in bad:
                raise DivergenceError("it diverged", where=client.where)

    def train_locally(model, client, **options):
        check(client)
        return alone(model, client, **options)

    def train_cohort(model, clients, **options):
        check(*clients)
        return together(model, clients, **options)

    monkeypatch.setattr(client_work, "train_locally", train_locally)
    monkeypatch.setattr(cohort_work, "train_cohort", train_cohort)


def config_of(make_config: MakeConfig, **changes: object) -> RunConfig:
    return make_config(
        rounds=4,
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        evaluation={"every": 0, "alone": False, "test": False},
        **changes,
    )


@pytest.mark.parametrize(
    "section",
    [
        pytest.param({"cohort": {"batched": "off"}}, marks=pytest.mark.slow),
        {"cohort": {"batched": "auto"}},
        pytest.param({"wire": {"codec": "int8", "error_feedback": True}}, marks=pytest.mark.slow),
    ],
)
def test_it_is_named_and_left_out_after_three_rounds_and_resuming_knows(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: dict
) -> None:
    failing(monkeypatch, ("south",))
    config, path = config_of(make_config, **section), tmp_path / "run"
    run_and_hear(config, path, stop_after=2)
    run_and_hear(config, path)
    found = records(path)
    reason = {"south": "it diverged"}
    assert [record.get("failed", {}) for record in found] == [reason] * 3 + [{}]
    assert [list(record["clients"]) for record in found] == [["north", "west"]] * 4
    assert [record["dropped"].keys() for record in found] == [{"south"}] * 3 + [set()]
    assert json.loads((path / "summary.json").read_text())["left_out"] == reason
    assert labels_in(path).keys() == {"north", "south", "west"}
    run_and_hear(config, tmp_path / "whole")
    one, two = (load_file(p / "state.safetensors") for p in (path, tmp_path / "whole"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_of_a_private_run_nobody_learns_which_it_was(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would tell that it was drawn. Nor are its labels counted where others read."""
    failing(monkeypatch, ("south",))
    guarantee = {"clipping_norm": 0.1, "noise_multiplier": 1.0, "delta": 1e-2, "sampling": "fixed"}
    config = config_of(
        make_config,
        cohort={"size": 3},
        server={"weighting": "uniform"},
        privacy={"client": guarantee},
    )
    events = run_and_hear(config, tmp_path / "run")
    (news,) = (event for event in events if isinstance(event, SiteNews))
    assert news.site == "0"
    assert "it diverged" in news.what
    said = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert said["left_out"] == {"0": "it diverged"}
    assert labels_in(tmp_path / "run") == {}


def labels_in(path: Path) -> dict[str, list[int]]:
    return json.loads((path / "data.json").read_text())["labels"]


def test_what_is_wrong_with_all_ends_the_run_at_once(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ("north", "south", "west"))
    with pytest.raises(DivergenceError, match=r"it diverged\n.*client north"):
        run_and_hear(config_of(make_config), tmp_path / "run")
    assert records(tmp_path / "run") == []


def test_a_secure_sum_ends_where_too_few_are_left(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ("south",))
    config = config_of(make_config, privacy={"secure_aggregation": {}})
    with pytest.raises(SitesError, match=r"too few clients are left(.|\n)*south: it diverged"):
        run_and_hear(config, tmp_path / "run")
    assert labels_in(tmp_path / "run") == {}
    found = records(tmp_path / "run")
    assert [record["failed"] for record in found] == [{"south": "it diverged"}] * 3
    assert all(record["secure_sum"]["left"] == {"south": "masked update"} for record in found)
    assert {record["unused"] for record in found} == {"2 of 3 clients, and the secure sum takes 3"}
