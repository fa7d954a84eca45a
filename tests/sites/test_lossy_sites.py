"""Codecs over sites: the run of one process, what left each site, and what a site still owes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file
from tests.sites.in_process import (
    NAMES,
    Bench,
    QuickSite,
    answers_of,
    federation_of,
    run_sites,
)

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import RunDirectory, create_run, run_experiment
from fedtt.federated.wire.codec import CODECS
from fedtt.params import structure_of
from fedtt.sites.data_shares import Share
from fedtt.sites.frames import Frame
from fedtt.sites.kept_residuals import FILE, KeptResiduals
from fedtt.sites.site_worker import Worker

Job = Callable[..., RunConfig]
RUN = "0" * 32
QUICK = {"evaluation": {"alone": False, "every": 0, "test": False}}
FEEDBACK = {"codec": "sign", "error_feedback": True}
LOSSY: dict[str, dict[str, Any]] = {
    **{name: {"codec": name} for name in CODECS},
    "sign, feedback": FEEDBACK,
    "int4 both ways": {"codec": "int4", "downlink": "int4"},
}
FAST = ("int4", "sign, feedback", "int4 both ways")


def worker(index: int, folder: Path | None) -> Worker:
    site = QuickSite(name=NAMES[index], data=Share(index=index, count=len(NAMES)))
    return Worker(site, tell=lambda _line: None, should_stop=lambda: False, state=folder)


def workers(tmp_path: Path) -> dict[int, Worker]:
    return {index + 1: worker(index, tmp_path / name) for index, name in enumerate(NAMES)}


def records(path: Path) -> list[dict[str, Any]]:
    return RunDirectory(path=path).rounds()


def same_params(one: Path, two: Path) -> bool:
    states = [load_file(path / "state.safetensors") for path in (one, two)]
    names = [name for name in states[0] if name.startswith("params/")]
    return all(torch.equal(states[0][name], states[1][name]) for name in names)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in FAST else pytest.mark.slow) for case in LOSSY],
)
def test_sites_send_what_one_process_would_and_as_many_bytes_as_are_noted(
    job: Job, tmp_path: Path, case: str
) -> None:
    config = job(rounds=3, wire=LOSSY[case], **QUICK)
    sent: list[int] = []

    def counted(answer: Callable[[Frame], Frame]) -> Callable[[Frame], Frame]:
        def counting(asked: Frame) -> Frame:
            reply = answer(asked)
            sent.extend(map(len, reply.blobs))
            return reply

        return counting

    answers = {n: counted(answer) for n, answer in answers_of(workers(tmp_path)).items()}
    run_sites(config, tmp_path / "sites", Bench(answers))
    directory = create_run(tmp_path / "here", config, overwrite=False)
    run_experiment(config, federation_of(config), directory, notify=lambda _event: None)
    assert sum(sent) == sum(record["uplink_bytes"] for record in records(tmp_path / "sites"))
    for key in ("uplink_bytes", "downlink_bytes"):
        noted = [[r[key] for r in records(tmp_path / name)] for name in ("sites", "here")]
        assert noted[0] == noted[1]
    assert same_params(tmp_path / "sites", tmp_path / "here")


@pytest.mark.slow
def test_a_site_that_starts_again_still_owes_what_it_owed(job: Job, tmp_path: Path) -> None:
    config = job(rounds=3, wire=FEEDBACK, **QUICK)
    run_sites(config, tmp_path / "whole", Bench(answers_of(workers(tmp_path / "a"))))
    bench = Bench(answers_of(workers(tmp_path / "b")))

    def start_again(_index: int) -> None:
        restarted = worker(1, tmp_path / "b" / NAMES[1])
        bench.answers = {n: a for n, a in bench.answers.items() if n in (1, 3)} | {
            max(bench.answers) + 1: restarted.answer
        }

    run_sites(config, tmp_path / "again", bench, on_round=start_again)
    assert same_params(tmp_path / "whole", tmp_path / "again")
    # Without its folder it owes nothing, and the run ends elsewhere.
    bench = Bench(answers_of(workers(tmp_path / "c")))

    def start_empty(_index: int) -> None:
        bench.answers = {n: a for n, a in bench.answers.items() if n in (1, 3)} | {
            max(bench.answers) + 1: worker(1, None).answer
        }

    run_sites(config, tmp_path / "empty", bench, on_round=start_empty)
    assert not same_params(tmp_path / "whole", tmp_path / "empty")


@pytest.mark.slow
def test_a_round_that_is_asked_for_again_begins_where_it_began(job: Job, tmp_path: Path) -> None:
    """A server that lost its last state asks for the last round again: of the same sites."""
    config = job(rounds=3, wire=FEEDBACK, **QUICK)
    sites = workers(tmp_path)
    whole = tmp_path / "run"
    kept: list[bytes] = []

    def keep(index: int) -> None:
        if index == 1:
            kept.append((whole / "state.safetensors").read_bytes())

    run_sites(config, whole, Bench(answers_of(sites)), on_round=keep)
    first = load((whole / "state.safetensors").read_bytes())
    (whole / "state.safetensors").write_bytes(kept[0])
    (whole / "summary.json").unlink()
    run_sites(config, whole, Bench(answers_of(sites)))
    again = load((whole / "state.safetensors").read_bytes())
    assert all(torch.equal(first[name], again[name]) for name in first)


def kept(folder: Path, **changes: Any) -> KeptResiduals:
    structure = structure_of({"w": torch.zeros(2)})
    values = {"run_id": RUN, "clients": ["a"], "structure": structure, **changes}
    return KeptResiduals(folder, **values)


def test_what_is_kept_is_of_one_run_and_round(tmp_path: Path) -> None:
    def owing(number: float) -> dict:
        return {"a": {"w": torch.full((2,), number)}}

    kept(tmp_path).end(4, before=owing(1.0), after=owing(2.0))
    again = kept(tmp_path)
    begun = {index: again.begin(index) for index in (3, 4, 5, 9)}
    assert begun[3] == {}
    values = {index: begun[index]["a"]["w"][0].item() for index in (4, 5, 9)}
    assert values == {4: 1.0, 5: 2.0, 9: 2.0}
    assert kept(tmp_path, clients=["b"]).begin(5) == {}
    assert (tmp_path / FILE.format(RUN)).stat().st_mode & 0o077 == 0
    other = kept(tmp_path, run_id="1" * 32)
    assert other.begin(5) == {}
    other.end(0, before={}, after=owing(7.0))
    assert kept(tmp_path).begin(5)["a"]["w"][0].item() == 2.0


@pytest.mark.slow
def test_a_run_of_the_same_configuration_owes_nothing(job: Job, tmp_path: Path) -> None:
    """Neither at the site that stays, nor at one that starts again with its folder."""
    config = job(rounds=2, wire=FEEDBACK, **QUICK)
    sites = workers(tmp_path / "a")
    run_sites(config, tmp_path / "first", Bench(answers_of(sites)))
    # Ended sites join no further run: as if their servers had not said that it was over.
    for site in sites.values():
        site.over = False
    run_sites(config, tmp_path / "staying", Bench(answers_of(sites)))
    run_sites(config, tmp_path / "starting", Bench(answers_of(workers(tmp_path / "a"))))
    assert same_params(tmp_path / "first", tmp_path / "staying")
    assert same_params(tmp_path / "first", tmp_path / "starting")
    assert len(list((tmp_path / "a" / NAMES[0]).glob("residuals-*"))) == 3


def test_what_was_kept_and_is_damaged_is_refused(tmp_path: Path) -> None:
    kept(tmp_path).end(0, before={}, after={})
    path = tmp_path / FILE.format(RUN)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SitesError, match=r"cannot be read(.|\n)*move the file"):
        kept(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SitesError, match=r"cannot keep what(.|\n)*--state"):
        kept(tmp_path / "file").end(0, before={}, after={})
