"""Example-level privacy at sites: each hides its own, counts for itself, and stops by itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.sites.in_process import (
    NAMES,
    Bench,
    QuickSite,
    answers_of,
    federation_of,
    run_sites,
)

from fedtt.config import RunConfig
from fedtt.errors import ConfigError, SitesError
from fedtt.experiment import RunDirectory
from fedtt.federated.privacy.accounting import Accounting
from fedtt.sites import epsilon_ledger, kept_file
from fedtt.sites.data_shares import Share
from fedtt.sites.epsilon_ledger import FILE, LOCK, EpsilonLedger, Spent
from fedtt.sites.site_examples import (
    SECRET,
    SpendingLimit,
    check_limit,
    open_site_examples,
)
from fedtt.sites.site_worker import Worker, check_measured

MakeConfig = Callable[..., RunConfig]
EXAMPLE = {"clipping_norm": 0.2, "noise_multiplier": 0.6, "delta": 1e-3, "accountant": "rdp"}
CLIENTS = ("north", "south", "west")
RUN = "0" * 32


def private(make_config: MakeConfig, *, rounds: int = 2, **example: object) -> RunConfig:
    return make_config(
        rounds=rounds,
        client={"steps": 2, "batch_size": 4, "learning_rate": 1e-2},
        evaluation={"every": 0, "test": False, "alone": False},
        privacy={"example": {**EXAMPLE, **example}},
        sites={"min_replies": 1, "patience": 1, "deadline": 60},
    )


def epsilon(config: RunConfig, client: str, *, rounds: int) -> float:
    own = Accounting(
        sampling="poisson",
        accountant="rdp",
        population=len(federation_of(config).splits["train"][client]),
        expected=4,
        delta=1e-3,
    )
    return own.epsilon(noise_multiplier=0.6, rounds=2 * rounds)


def worker(
    index: int, folder: Path | None, *, said: list[str], limit: SpendingLimit | None = None
) -> Worker:
    site = QuickSite(name=NAMES[index], data=Share(index=index, count=len(NAMES)))
    return Worker(
        site, tell=said.append, should_stop=lambda: False, state=folder, spending_limit=limit
    )


def bench(folder: Path, said: list[str], **limits: SpendingLimit) -> Bench:
    workers = {
        index + 1: worker(index, folder / name, said=said, limit=limits.get(CLIENTS[index]))
        for index, name in enumerate(NAMES)
    }
    return Bench(answers_of(workers))


def records(path: Path) -> list[dict[str, Any]]:
    return RunDirectory(path=path).rounds()


@pytest.mark.slow
def test_sites_hide_their_own_and_server_and_site_say_the_same_epsilon(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config, said = private(make_config), []
    table = run_sites(config, tmp_path / "run", bench(tmp_path, said))
    own = {client: epsilon(config, client, rounds=2) for client in CLIENTS}
    assert table["example_privacy"]["epsilon"] == max(own.values())
    assert records(tmp_path / "run")[1]["example_privacy"]["clients"] == own
    assert all("loss" not in c for r in records(tmp_path / "run") for c in r["clients"].values())
    for client in CLIENTS:
        assert any(f"epsilon {own[client]:.3f} (delta 0.001)" in line for line in said), said
    secrets = {(tmp_path / name / SECRET).read_bytes() for name in NAMES}
    assert len(secrets) == 3
    for name in NAMES:
        for file in (SECRET, FILE):
            assert (tmp_path / name / file).stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_what_a_site_is_asked_again_has_the_same_bits_and_costs_nothing(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """A site and a server that start over, the server from the state before the round."""
    config, said = private(make_config, rounds=1), []
    states = []
    for attempt in ("one", "two"):
        path = tmp_path / attempt
        if attempt == "two":  # the same run: its secret is its name
            RunDirectory(path=path).path.mkdir()
            for file in ("config.toml", "secret"):
                if (tmp_path / "one" / file).exists():
                    (path / file).write_bytes((tmp_path / "one" / file).read_bytes())
        run_sites(config, path, bench(tmp_path, said))
        states.append(load_file(path / "state.safetensors"))
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    ledger = json.loads((tmp_path / NAMES[0] / FILE).read_text())
    assert [one["steps"] for one in ledger["spent"]] == [2]
    run_sites(config, tmp_path / "other", bench(tmp_path, said))  # another run adds to it
    ledger = json.loads((tmp_path / NAMES[0] / FILE).read_text())
    assert [one["steps"] for one in ledger["spent"]] == [2, 2]
    other = load_file(tmp_path / "other" / "state.safetensors")
    assert not all(torch.equal(tensor, other[name]) for name, tensor in states[0].items())


@pytest.mark.slow
def test_a_site_trains_no_further_than_its_owner_allows_whatever_the_server_says(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config, said = private(make_config, rounds=3), []
    most = (epsilon(config, "north", rounds=2) + epsilon(config, "north", rounds=3)) / 2
    limit = SpendingLimit(epsilon=most, delta=1e-3)
    run_sites(config, tmp_path / "run", bench(tmp_path, said, north=limit))
    assert any("this site's own privacy budget is spent" in line for line in said)
    took_part = [set(record["clients"]) for record in records(tmp_path / "run")]
    assert took_part == [{*CLIENTS}, {*CLIENTS}, {"south", "west"}]
    # And not in another run either.
    run_sites(private(make_config, rounds=1), tmp_path / "next", bench(tmp_path, said, north=limit))
    assert set(records(tmp_path / "next")[0]["clients"]) == {"south", "west"}


def test_a_run_s_own_budget_ends_a_site_s_part_too(make_config: MakeConfig, tmp_path: Path) -> None:
    """By the site's account, not by what a server that has no data thinks."""
    config = private(make_config)
    most = (epsilon(config, "north", rounds=1) + epsilon(config, "north", rounds=2)) / 2
    config = private(make_config, target_epsilon=most)

    def asked(task: bytes, *, run: str = RUN) -> None:
        own = open_site_examples(
            config,
            federation_of(config),
            folder=tmp_path,
            run_id=run,
            clients=["north"],
            limit=None,
            shared=True,
        )
        assert own is not None
        count = own.plan.budgets["north"].accounting.population
        own.privacy().mechanism("north", examples=count, task=[task])

    asked(b"round 0")
    asked(b"round 0")  # again, after the site started afresh
    with pytest.raises(SitesError, match=r"the run's privacy budget is spent(.|\n)*one more round"):
        asked(b"round 1")
    asked(b"round 0", run="1" * 32)  # another run has a budget of its own


def test_a_site_with_a_limit_refuses_to_train_without_noise(make_config: MakeConfig) -> None:
    limit = SpendingLimit(epsilon=3, delta=1e-5)
    with pytest.raises(ConfigError, match=r"hides no examples(.|\n)*--max-epsilon"):
        check_limit(make_config(), limit)
    check_limit(make_config(), None)


@pytest.mark.parametrize("evaluation", [{"every": 1, "test": False}, {"every": 0, "test": True}])
def test_a_site_with_a_limit_measures_nothing(
    make_config: MakeConfig, evaluation: dict[str, object]
) -> None:
    """The server says which examples are held out: in another run, they are others."""
    config = private(make_config)
    measured = config.evaluation.model_copy(update=evaluation)
    limit = SpendingLimit(epsilon=3, delta=1e-5)
    check_limit(config, limit)
    with pytest.raises(ConfigError, match=r"measures nothing(.|\n)*every = 0(.|\n)*test = false"):
        check_limit(config.model_copy(update={"evaluation": measured}), limit)


def test_a_site_that_measures_nothing_ends_such_a_run_with_the_way_out(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config, said = private(make_config), []
    measured = config.evaluation.model_copy(update={"every": 1})
    config = config.model_copy(update={"evaluation": measured})
    limit = SpendingLimit(epsilon=30, delta=1e-3)
    limits = dict.fromkeys(CLIENTS, limit)
    with pytest.raises(SitesError, match="too few sites"):
        run_sites(config, tmp_path / "run", bench(tmp_path, said, **limits))


@pytest.mark.parametrize(
    ("evaluation", "split"),
    [({"every": 0}, "validation"), ({"test": False, "alone": False}, "test")],
)
def test_a_site_refuses_to_measure_what_the_configuration_does_not(
    make_config: MakeConfig, evaluation: dict[str, object], split: str
) -> None:
    config = make_config(evaluation=evaluation)
    check_measured(config, [])
    with pytest.raises(SitesError, match=rf"not to be measured(.|\n)*{split}"):
        check_measured(config, [split])
    check_measured(make_config(), ["validation", "test"])


@pytest.mark.slow
def test_without_a_folder_a_site_takes_no_part(make_config: MakeConfig, tmp_path: Path) -> None:
    said: list[str] = []
    own = Bench(answers_of({1: worker(0, None, said=said)}))
    with pytest.raises(SitesError, match="too few sites"):
        run_sites(private(make_config), tmp_path / "run", own)


def test_a_ledger_counts_on_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    one = Spent(client="a", run="r", noise_multiplier=1.0, examples=50, expected=5, steps=3)
    ledger = EpsilonLedger(tmp_path)
    ledger.add(one, task="first")
    assert EpsilonLedger(tmp_path).is_last("a", "first")
    assert not EpsilonLedger(tmp_path).is_last("b", "first")
    own = Accounting(sampling="poisson", accountant="rdp", population=50, expected=5, delta=1e-4)

    def after(more: Spent, run: str | None, *, client: str | None = "a") -> float:
        again = EpsilonLedger(tmp_path)
        return again.epsilon(more, accountant="rdp", delta=1e-4, run=run, client=client)

    assert after(one, None) == own.epsilon(noise_multiplier=1.0, rounds=6)
    other = one.model_copy(update={"run": "s", "noise_multiplier": 2.0})
    assert after(other, "s") == own.epsilon(noise_multiplier=2.0, rounds=3)
    both = after(other, None)  # more than either, less than one after another
    assert own.epsilon(noise_multiplier=1.0, rounds=3) < both
    assert both < own.epsilon(noise_multiplier=1.0, rounds=3) + after(other, "s")
    renamed = one.model_copy(update={"client": "b"})
    assert after(renamed, None, client="b") == own.epsilon(noise_multiplier=1.0, rounds=3)
    assert after(renamed, None, client=None) == own.epsilon(noise_multiplier=1.0, rounds=6)
    (tmp_path / FILE).write_text("{}x")
    with pytest.raises(SitesError, match=r"cannot be read(.|\n)*bring the file back"):
        EpsilonLedger(tmp_path)


def test_what_could_not_be_written_down_is_not_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again, a client would train for nothing."""
    one = Spent(client="a", run="r", noise_multiplier=1.0, examples=50, expected=5, steps=3)
    ledger = EpsilonLedger(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(kept_file, "replace_file", full)
    with pytest.raises(SitesError, match=r"cannot write down(.|\n)*disk full"):
        ledger.add(one, task="first")
    assert not ledger.is_last("a", "first")


def test_two_processes_of_a_site_add_to_one_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Spent(client="a", run="r", noise_multiplier=1.0, examples=50, expected=5, steps=3)
    first, second = EpsilonLedger(tmp_path), EpsilonLedger(tmp_path)
    for ledger, task in ((first, "one"), (second, "two"), (first, "three")):
        with ledger.held():
            ledger.add(one, task=task)
    spent = json.loads((tmp_path / FILE).read_text())["spent"]
    assert [entry["steps"] for entry in spent] == [9]
    assert (tmp_path / LOCK).stat().st_mode & 0o077 == 0
    monkeypatch.setattr(epsilon_ledger, "PATIENCE", 0.05)
    refused = pytest.raises(SitesError, match=r"cannot be locked(.|\n)*stop what else")
    with first.held(), refused, second.held():
        pass


def test_a_site_of_one_client_has_one_account_whatever_its_name(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = private(make_config)
    limit = SpendingLimit(epsilon=epsilon(config, "north", rounds=1) * 1.01, delta=1e-3)

    def asked(name: str, *, shared: bool) -> None:
        own = open_site_examples(
            config,
            federation_of(config),
            folder=tmp_path,
            run_id=RUN,
            clients=[name],
            limit=limit,
            shared=shared,
        )
        assert own is not None
        count = own.plan.budgets[name].accounting.population
        own.privacy().mechanism(name, examples=count, task=[b"round 0"])

    asked("north", shared=False)
    with pytest.raises(SitesError, match="this site's own privacy budget is spent"):
        asked("south", shared=False)
    asked("south", shared=True)  # another part of the same file
