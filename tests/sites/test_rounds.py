"""Rounds in which sites are away, are not called, or hear an old message again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.sites.in_process import NAMES, Answer, Bench, answers_of, run_sites, share_workers

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import RunDirectory
from fedtt.federated.cohort import sample_cohort


def records(path: Path) -> list[dict]:
    return RunDirectory(path=path).rounds()


@dataclass
class Coming(Bench):
    """A bench to which those of ``later`` come after so many looks at who is there."""

    later: dict[int, tuple[int, Answer]] = field(default_factory=dict)

    def nodes(self) -> Sequence[int]:
        for node, (looks, answer) in list(self.later.items()):
            if looks == 0:
                self.answers[node] = answer
                del self.later[node]
            else:
                self.later[node] = (looks - 1, answer)
        return super().nodes()


def test_a_round_from_which_everybody_drops_out_asks_nobody(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = job(rounds=1, cohort={"batched": "off", "dropout": 1 - 1e-12})
    bench = Bench(answers_of(share_workers()))
    run_sites(config, tmp_path / "run", bench)
    (record,) = records(tmp_path / "run")
    assert record["clients"] == {}
    assert record["loss"] is None
    assert sorted(record["dropped"]) == ["north", "south", "west"]
    kinds = [frame.content["do"] for node, frame in bench.sent if node == 1]
    assert kinds == ["hello", "measure", "end"]


def test_sites_need_not_measure_the_start(job: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = job(rounds=1, evaluation={"alone": False, "before": False})
    summary = run_sites(config, tmp_path / "run", Bench(answers_of(share_workers())))
    assert summary["before"] is None
    assert summary["test"] is not None


def one_a_round(job: Callable[..., RunConfig], *, patience: float) -> tuple[RunConfig, int]:
    """A run that calls one client a round, and the node of the one of the second round."""
    config = job(
        rounds=2,
        cohort={"batched": "off", "size": 1},
        evaluation={"alone": False, "every": 0, "test": False},
        sites={"deadline": 5, "patience": patience},
    )
    (position,) = sample_cohort(len(NAMES), cohort_size=1, seed=config.seed, round_index=1)
    return config, position + 1


def test_a_round_waits_for_those_that_it_calls(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config, away = one_a_round(job, patience=5)
    bench = Coming(answers_of(share_workers()))

    def leave(index: int) -> None:
        if index == 0:
            bench.later[away] = (3, bench.answers.pop(away))

    run_sites(config, tmp_path / "run", bench, on_round=leave)
    _, second = records(tmp_path / "run")
    assert len(second["clients"]) == 1
    assert second["dropped"] == {}


def test_a_round_waits_no_longer_than_patience_for_those_that_it_calls(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config, away = one_a_round(job, patience=0.5)
    bench = Bench(answers_of(share_workers()))
    news: list[str] = []
    message = r"joined\n  got: 0 clients after 0 s\n  expected: 1 of the 1 called next"
    with pytest.raises(SitesError, match=message):
        run_sites(
            config,
            tmp_path / "run",
            bench,
            news=news,
            on_round=lambda _: bench.answers.pop(away, None),
        )
    assert len(records(tmp_path / "run")) == 1
    assert not any("is not there" in line for line in news)


def test_nothing_is_counted_as_sent_to_a_site_that_is_not_there(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    bench = Bench(answers_of(share_workers()))
    run_sites(job(rounds=2), tmp_path / "run", bench, on_round=lambda _: bench.answers.pop(3, None))
    _, second = records(tmp_path / "run")
    assert second["dropped"] == {"west": 0}
    sent = sum(client["downlink_bytes"] for client in second["clients"].values())
    assert second["downlink_bytes"] == sent > 0


def test_a_site_refuses_a_message_of_an_earlier_round(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """It would set the site's copy of the model back, and train from there."""
    workers = share_workers()
    bench = Bench(answers_of(workers))
    run_sites(job(rounds=2), tmp_path / "run", bench)
    old, new = (f for node, f in bench.sent if node == 1 and f.content["do"] == "train")
    last = next(f for node, f in bench.sent if node == 1 and f.content["do"] == "measure")
    for frame in (old, new):
        assert "a message of an earlier round" in workers[1].answer(frame).content["error"]
    assert "metrics" in workers[1].answer(last).content  # what it was asked last, it still answers


def test_a_round_waits_for_as_many_as_its_defense_takes(
    job: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Two of three sites would do for a mean; a median of two is no defense."""
    config = job(
        server={"aggregation": "median"},
        sites={"deadline": 5, "patience": 0.5, "min_replies": 2},
        rounds=2,
    )
    bench = Bench(answers_of(share_workers()))
    with pytest.raises(SitesError, match=r"2 clients after(.|\n)*expected: 3 of the 3 called next"):
        run_sites(config, tmp_path / "run", bench, on_round=lambda _: bench.answers.pop(3, None))
    assert len(records(tmp_path / "run")) == 1
