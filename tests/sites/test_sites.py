"""A run with sites is the run of the local engine, whatever happens to sites and server."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.experiment import tracked
from tests.experiment.runs import run
from tests.sites import in_process
from tests.sites.in_process import (
    Bench,
    StrangeSite,
    answers_of,
    connect,
    make_worker,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import RunDirectory, create_run, run_with_sites
from fedtt.sites import server_end as sites_module
from fedtt.sites.data_shares import Share
from fedtt.sites.frames import Frame

METHODS = {
    "fedtt": {"name": "fedtt", "rank": 2, "bottleneck": 8},
    "fedtt+": {"name": "fedtt+", "rank": 2, "bottleneck": 8},
    "lora": {"name": "lora", "rank": 2},
    "flexlora": {"name": "flexlora", "rank": 4, "ranks": [4, 2, 1]},
    "fedex-lora": {"name": "fedex-lora", "rank": 2},
}


def methods(*quick: str) -> pytest.MarkDecorator:
    """Every method; all but these in the slow run only."""
    cases = [
        pytest.param(method, id=name, marks=() if name in quick else pytest.mark.slow)
        for name, method in METHODS.items()
    ]
    return pytest.mark.parametrize("method", cases)


def parameters(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "state.safetensors")


def records(path: Path) -> list[dict]:
    return RunDirectory(path=path).rounds()


def mean_loss(metrics: dict) -> float:
    return metrics["loss"]["mean"]


def assert_same(one: Path, other: Path) -> None:
    first, second = parameters(one), parameters(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@methods("fedtt+")
def test_sites_end_with_the_local_engine_s_parameters(
    job: Callable[..., RunConfig], tmp_path: Path, method: dict
) -> None:
    config = job(method=method)
    local = run(config, tmp_path / "local")
    over = run_sites(config, tmp_path / "sites", Bench(answers_of(share_workers())))
    assert_same(tmp_path / "local", tmp_path / "sites")
    for mine, theirs in zip(records(tmp_path / "local"), records(tmp_path / "sites"), strict=True):
        assert mine["uplink_bytes"] == theirs["uplink_bytes"]
        assert mine["downlink_bytes"] == theirs["downlink_bytes"]
    if method["name"] == "flexlora":
        return  # a site of a lower rank measures the part of the model that it has
    for mine, theirs in zip(records(tmp_path / "local"), records(tmp_path / "sites"), strict=True):
        assert mean_loss(theirs["validation"]) == pytest.approx(mean_loss(mine["validation"]))
    for measured in ("before", "test"):
        assert mean_loss(over[measured]) == pytest.approx(mean_loss(local[measured]))


@pytest.mark.slow
def test_a_site_that_begins_with_other_parameters_is_sent_the_run_s(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """The others draw what the run begins with, and are sent none of it."""
    config = job(method=METHODS["fedtt"])
    workers = share_workers()
    workers[2] = make_worker("site-1", Share(index=1, count=3), kind=StrangeSite)
    run(config, tmp_path / "local")
    run_sites(config, tmp_path / "sites", Bench(answers_of(workers)))
    first = records(tmp_path / "sites")[0]["clients"]
    (stranger,) = Share(index=1, count=3).of(tuple(first))
    numbers = sum(tensor.numel() for tensor in parameters(tmp_path / "sites").values())
    for client, report in first.items():
        assert (report["downlink_bytes"] > 3 * numbers) == (client == stranger)
    assert_same(tmp_path / "local", tmp_path / "sites")


@pytest.mark.slow
def test_a_server_resumed_where_others_are_drawn_sends_what_the_run_began_with(
    job: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server and sites draw alike, and all of them otherwise than the run did: another torch."""
    config = job(method=METHODS["fedtt+"], rounds=3)
    run_sites(config, tmp_path / "whole", Bench(answers_of(share_workers())))

    class Killed(BaseException):
        pass

    def kill(index: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_sites(config, tmp_path / "cut", Bench(answers_of(share_workers())), on_round=kill)
    drawn = StrangeSite(name="site-0", data=Share(index=0, count=3)).build(config)
    monkeypatch.setattr(in_process, "federation_of", lambda _config: drawn)
    run_sites(config, tmp_path / "cut", Bench(answers_of(share_workers())))
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_two_clients_at_one_site(job: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = job(cohort={"batched": "off", "size": 2}, rounds=4)
    run(config, tmp_path / "local")
    workers = {i + 1: make_worker(f"site-{i}", Share(index=i, count=2)) for i in range(2)}

    from fedtt.engine.build import build_federation

    federation = build_federation(config)
    population = federation.population
    expected = {"site-0": population[0::2], "site-1": population[1::2]}
    sites = connect(config, federation, Bench(answers_of(workers)), news=[], expected=expected)
    directory = create_run(tmp_path / "sites", config, overwrite=False)
    run_with_sites(config, federation, directory, sites, notify=lambda _: None)
    assert_same(tmp_path / "local", tmp_path / "sites")


@pytest.mark.slow
@methods("fedtt+")
@pytest.mark.parametrize(
    "warm", [pytest.param(True, id="same sites"), pytest.param(False, id="new")]
)
def test_a_server_that_was_killed_goes_on_to_the_same_bits(
    job: Callable[..., RunConfig], tmp_path: Path, method: dict, warm: bool
) -> None:
    config = job(method=method, rounds=4, track={"to": tracked.TENSORBOARD})
    run_sites(config, tmp_path / "whole", Bench(answers_of(share_workers())))
    workers = share_workers()

    class Killed(BaseException):
        pass

    def kill(index: int) -> None:
        if index == 1:
            raise Killed

    with pytest.raises(Killed):
        run_sites(config, tmp_path / "cut", Bench(answers_of(workers)), on_round=kill)
    assert len(records(tmp_path / "cut")) == 2
    again = workers if warm else share_workers()
    run_sites(config, tmp_path / "cut", Bench(answers_of(again)))
    assert_same(tmp_path / "whole", tmp_path / "cut")
    scores = [
        [r["validation"]["loss"]["mean"] for r in records(tmp_path / p)] for p in ("whole", "cut")
    ]
    assert scores[0] == scores[1]
    if not tracked.TENSORBOARD:
        return
    # What sites measured of a round is known after the next one began; and lies at its own.
    for place in ("whole", "cut"):
        points, _ = tracked.tensorboard(tmp_path / place)
        found = [points["validation/loss", after] for after in range(1, 5)]
        assert found == pytest.approx(scores[0])
    shutil.rmtree(tmp_path / "whole" / "track")  # a tracker that is new to a finished run
    run_sites(config, tmp_path / "whole", Bench(answers_of(workers)))
    points, told = tracked.tensorboard(tmp_path / "whole")
    assert ("test/loss", 4) in points
    assert told["ended"]


@pytest.mark.slow
@methods("fedex-lora")
def test_a_site_that_starts_afresh_hears_everything_again(
    job: Callable[..., RunConfig], tmp_path: Path, method: dict
) -> None:
    """It would train from the wrong weights if it heard only what changed since."""
    config = job(method=method, rounds=4)
    run_sites(config, tmp_path / "whole", Bench(answers_of(share_workers())))
    bench = Bench(answers_of(share_workers()))

    def restart(index: int) -> None:
        if index == 1:
            del bench.answers[2]
            bench.answers[7] = make_worker("site-1", Share(index=1, count=3)).answer

    news: list[str] = []
    run_sites(config, tmp_path / "restarted", bench, news=news, on_round=restart)
    # Between two rounds nobody looks: the round after goes without it, unless it joined in time.
    joined = [line for line in news if line.startswith("site-1: joined")]
    assert len(joined) == 2
    if "site-1: is not there" not in " ".join(news):
        assert_same(tmp_path / "whole", tmp_path / "restarted")


@pytest.mark.slow
def test_a_restart_at_the_same_node_is_noticed(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """With keys the node stays the same: the session tells."""
    config = job(rounds=4, sites={"deadline": 5, "patience": 5, "min_replies": 3})
    run_sites(config, tmp_path / "whole", Bench(answers_of(share_workers())))
    bench = Bench(answers_of(share_workers()))

    def restart(index: int) -> None:
        if index == 1:
            bench.answers[2] = make_worker("site-1", Share(index=1, count=3)).answer

    news: list[str] = []
    run_sites(config, tmp_path / "restarted", bench, news=news, on_round=restart)
    assert any("started afresh" in line for line in news)
    assert_same(tmp_path / "whole", tmp_path / "restarted")


def test_a_silent_site_costs_its_part_of_the_round_and_no_more(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = job(rounds=2, sites={"deadline": 0.5, "patience": 5})
    workers = share_workers()
    answers = answers_of(workers)
    silent = {"now": True}

    def sometimes(frame: Frame) -> Frame | None:
        quiet = silent["now"] and frame.content["do"] == "train"
        return None if quiet else workers[3].answer(frame)

    answers[3] = sometimes
    news: list[str] = []
    bench = Bench(answers)

    def wake(index: int) -> None:
        silent["now"] = False

    run_sites(config, tmp_path / "run", bench, news=news, on_round=wake)
    first, second = records(tmp_path / "run")
    assert list(first["clients"]) == ["north", "south"]
    assert first["dropped"] == {"west": pytest.approx(first["downlink_bytes"] / 3)}
    assert any("site-2: did not answer within" in line for line in news)
    assert set(second["clients"]) <= {"north", "south", "west"}


def test_too_few_answers_end_the_run_after_three_attempts(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = job(sites={"deadline": 0.2, "patience": 1, "min_replies": 3})
    workers = share_workers()
    answers = answers_of(workers)
    answers[1] = lambda frame: workers[1].answer(frame) if frame.content["do"] == "hello" else None
    with pytest.raises(SitesError, match=r"too few (clients answered|sites joined)[\s\S]*3"):
        run_sites(config, tmp_path / "run", Bench(answers))
    assert records(tmp_path / "run") == []


def test_nobody_comes(job: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = job(sites={"deadline": 1, "patience": 0.3})
    with pytest.raises(SitesError, match=r"too few sites joined\n  got: 0 clients after 0 s"):
        run_sites(config, tmp_path / "run", Bench())


@pytest.mark.slow
def test_no_message_is_spent_on_measuring(job: Callable[..., RunConfig], tmp_path: Path) -> None:
    bench = Bench(answers_of(share_workers()))
    run_sites(job(rounds=3), tmp_path / "run", bench)
    kinds = [frame.content["do"] for node, frame in bench.sent if node == 1]
    assert kinds == ["hello", "train", "train", "train", "measure", "end"]
    assert json.dumps(records(tmp_path / "run")).count('"validation": null') == 0
    assert sites_module.GOODBYE < 60


def test_a_finished_run_needs_nobody_to_come(job: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = job(rounds=1, sites={"deadline": 5, "patience": 0.3})
    summary = run_sites(config, tmp_path / "run", Bench(answers_of(share_workers())))
    assert run_sites(config, tmp_path / "run", Bench()) == summary
