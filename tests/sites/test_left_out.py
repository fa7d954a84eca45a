"""A site whose replies are refused again and again is left out and named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.sites.in_process import Bench, answers_of, federation_of, run_sites, share_workers

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import create_run
from fedtt.federated.failures import Failure
from fedtt.sites.frames import Frame

MakeConfig = Callable[..., RunConfig]


class Stop(Exception):
    """What ends a run in a test."""


def spoiling_bench(places: list[int]) -> Bench:
    workers = share_workers()
    answers = answers_of(workers)

    def spoiled(node: int) -> Callable[[Frame], Frame]:
        def answer(frame: Frame) -> Frame:
            reply = workers[node].answer(frame)
            if frame.content["do"] != "train":
                return reply
            return Frame(content=reply.content, blobs=[b"nonsense"])

        return answer

    return Bench({**answers, **{node: spoiled(node) for node in places}})


def config_of(make_config: MakeConfig, **sites: object) -> RunConfig:
    return make_config(
        rounds=5,
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        evaluation={"every": 0, "before": False},
        sites={"deadline": 20.0, "patience": 20.0, **sites},
    )


@pytest.mark.slow
def test_it_is_left_out_and_named_over_a_restart(make_config: MakeConfig, tmp_path: Path) -> None:
    config, path = config_of(make_config), tmp_path / "run"
    news: list[str] = []

    def stop_after_two(round_index: int) -> None:
        if round_index == 1:
            raise Stop

    with pytest.raises(Stop):
        run_sites(config, path, spoiling_bench([3]), news=news, on_round=stop_after_two)
    bench = spoiling_bench([3])
    summary = run_sites(config, path, bench, news=news)
    for node, rounds in ((1, [2, 3, 4]), (3, [2])):
        asked = [frame.content for to, frame in bench.sent if to == node]
        assert [content["round"] for content in asked if content["do"] == "train"] == rounds
    assert sum(line.startswith("site-2: its reply is refused") for line in news) == 3
    (reason,) = summary["left_out"].values()
    assert summary["left_out"].keys() == {"west"}
    records = [json.loads(line) for line in (path / "rounds.jsonl").read_text().splitlines()]
    assert [record.get("failed", {}) for record in records] == [{"west": reason}] * 3 + [{}] * 2
    assert json.loads((path / "summary.json").read_text())["left_out"] == {"west": reason}
    assert "west" not in summary["test"]["loss"]


def test_the_run_ends_where_too_few_are_left(make_config: MakeConfig, tmp_path: Path) -> None:
    failures = {"south": Failure("why", 3), "west": Failure("how", 3)}
    config, path = config_of(make_config, min_replies=2), tmp_path / "run"
    directory = create_run(path, config, overwrite=False)
    directory.save_state(replace(federation_of(config).initial, failures=failures))
    with pytest.raises(SitesError, match=r"too few clients are left(.|\n)*south: why; west: how"):
        run_sites(config, path, spoiling_bench([]))
