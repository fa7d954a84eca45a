"""Runs with a simulated attack: what the plain mean does not bear, and a defense does."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.experiment.runs import run

from fedtt.attacks import ATTACKS, BACKDOOR_SUCCESS
from fedtt.config import RunConfig
from fedtt.engine.attacked_clients import AttackedClients
from fedtt.engine.build import build_federation, method_of
from fedtt.engine.inprocess import local_clients
from fedtt.errors import ConfigError, InterruptedRunError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.round import CallClients, ClientTask, run_round
from fedtt.sites.data_shares import Share
from fedtt.sites.site_data import SiteData

MakeConfig = Callable[..., RunConfig]


def attacked(make_config: MakeConfig, attack: dict | None, **changes: object) -> RunConfig:
    return make_config(
        **{
            "rounds": 2,
            "partition": {"kind": "iid", "clients": 7},
            "client": {"steps": 2, "batch_size": 4, "learning_rate": 1e-2},
            "evaluation": {"every": 0, "test": False},
            **({} if attack is None else {"attack": attack}),
            **changes,
        }
    )


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def test_a_defense_stops_what_the_mean_does_not(make_config: MakeConfig) -> None:
    """Two of seven send their updates upside down and ten times as long."""
    flip = {"kind": "sign-flip", "share": 0.3, "strength": 10}
    longer = {"client": {"steps": 4, "batch_size": 16}}
    federation = build_federation(attacked(make_config, flip, **longer))
    hostile, start = federation.hostile, federation.initial
    assert hostile is not None
    assert len(hostile.clients) == 2
    trained = local_clients(federation, state=start, seed=0)
    known: dict[str, bytes] = {}

    def honest(tasks: Iterable[ClientTask]) -> Iterable[bytes]:
        for task in tasks:
            if task.client_id not in known:
                known[task.client_id] = next(iter(trained([task])))
            yield known[task.client_id]

    def moved(clients: CallClients, **server: object) -> torch.Tensor:
        config = attacked(make_config, flip, server=server)
        after, _ = run_round(
            start,
            method=method_of(config),
            cohorts=Cohorts(population=federation.population, seed=0),
            learning_rate=1e-2,
            call_clients=clients,
        )
        return torch.cat([(after.params[n] - start.params[n]).flatten() for n in start.params])

    without = moved(honest)
    hit = AttackedClients(clients=honest, hostile=hostile, first={})

    def towards(**server: object) -> float:
        return float(torch.cosine_similarity(moved(hit, **server), without, dim=0))

    assert towards() < -0.3  # backwards
    assert towards(aggregation="geometric-median") > 0.6
    assert towards(aggregation="multi-krum", trim=0.3) > 0.8
    assert towards(update_norm="median") > 0.4


def test_a_backdoor_is_measured_every_time(make_config: MakeConfig, tmp_path: Path) -> None:
    backdoor = {"kind": "backdoor", "share": 0.3, "trigger": "plot", "target": "good"}
    evaluation = {"every": 1, "before": False}
    config = attacked(make_config, backdoor, rounds=1, evaluation=evaluation)
    run(config, tmp_path / "run")
    said = summary(tmp_path / "run")
    test, clients = said["test"], said["attack"]["clients"]
    assert (said["attack"]["kind"], len(clients)) == ("backdoor", 2)
    assert said["notes"][0].startswith("SIMULATED ATTACK: backdoor (strength 1) by 2 of 7")
    (line,) = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    for metrics in (test, json.loads(line)["validation"]):
        assert 0 <= metrics[BACKDOOR_SUCCESS]["mean"] <= 1
    federation = build_federation(config)
    triggered = federation.splits["test with the trigger"]
    assert set(triggered.pool.labels.tolist()) == {federation.label_names.index("good")}
    bad = federation.splits["test"].pool.labels != federation.label_names.index("good")
    assert sum(map(len, triggered.values())) == int(bad.sum())


def test_a_resumed_replay_has_the_same_bits(make_config: MakeConfig, tmp_path: Path) -> None:
    """What attackers sent at first is not forgotten."""
    replay = {"kind": "stale-replay", "share": 0.5}
    changes = {"cohort": {"size": 5}, "client": {"steps": 1, "batch_size": 4}}
    config = attacked(make_config, replay, **changes)
    run(config, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        run(config, tmp_path / "halves", stop_after=6)  # in the second round
    assert list((tmp_path / "halves" / "attackers").glob("*.state"))
    run(config, tmp_path / "halves")
    whole, halves = (tmp_path / name / "state.safetensors" for name in ("whole", "halves"))
    assert whole.read_bytes() == halves.read_bytes()


def test_label_flip_is_what_flipped_files_give(make_config: MakeConfig) -> None:
    config = attacked(make_config, {"kind": "label-flip", "share": 0.3})
    now, honest = build_federation(config), build_federation(attacked(make_config, None))
    for client in now.population:
        same = (now.splits["train"][client].labels == honest.splits["train"][client].labels).all()
        other = (now.splits["train"][client].labels != honest.splits["train"][client].labels).all()
        assert other if client in now.hostile.clients else same
    for split in ("validation", "test"):
        assert (now.splits[split].pool.labels == honest.splits[split].pool.labels).all()


@pytest.mark.parametrize(
    ("attack", "others", "message"),
    [
        ({"kind": "sign-flop"}, {}, r"no attack is called 'sign-flop'. Did you mean 'sign-flip'"),
        ({"kind": "sign-flip", "trigger": "cf"}, {}, "trigger go with a backdoor"),
        ({"kind": "gaussian"}, {"sites": {"names": ["a"]}}, "sites.names are real ones"),
        ({"kind": "gaussian"}, {"evaluation": {"alone": True}}, "nobody to attack"),
        ({"kind": "wrong-count", "strength": 0}, {}, "at least 1 example"),
    ],
)
def test_refused_by_the_configuration(
    make_config: MakeConfig, attack: dict, others: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        attacked(make_config, attack, **others)


def test_refused_before_the_model_is_loaded(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"no class(.|\n)*got: ugly"):
        build_federation(attacked(make_config, {"kind": "backdoor", "target": "ugly"}))
    rolora = {"name": "rolora", "rank": 2}
    with pytest.raises(ConfigError, match="those are of other parameters"):
        build_federation(attacked(make_config, {"kind": "stale-replay"}, method=rolora))


def test_no_site_attacks_because_a_server_says_so(make_config: MakeConfig) -> None:
    config = attacked(make_config, {"kind": "label-flip"})
    site = SiteData(name="north", data=Share(index=0, count=1))
    with pytest.raises(ConfigError, match="no real client is to attack"):
        site.config(config.model_dump(mode="json"))


def test_every_row_can_be_made() -> None:
    for name in ATTACKS:
        assert callable(ATTACKS[name].forge)
        assert ATTACKS[name].poisoned_by is None or callable(ATTACKS[name].poison)
