"""Secure sums over sites: the run of one process, sites that leave, what a server cannot ask."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.sites.in_process import (
    Answer,
    Bench,
    answers_of,
    federation_of,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import RunDirectory, create_run, run_experiment
from fedtt.federated.wire.update import update_length
from fedtt.params import structure_of
from fedtt.sites.frames import Frame

Job = Callable[..., RunConfig]
QUICK = {"evaluation": {"alone": False, "every": 0, "test": False}}
CLIENTS = 5


@pytest.fixture
def secure(job: Job) -> RunConfig:
    """Five clients at three sites: two at two of them."""
    return job(
        rounds=1,
        partition={"kind": "iid", "clients": CLIENTS},
        client={"steps": 1, "batch_size": 4, "learning_rate": 1e-2},
        privacy={"secure_aggregation": {"threshold": 4}},
        sites={"deadline": 5, "patience": 5, "min_replies": 1},
        **QUICK,
    )


def stage_of(frame: Frame) -> str:
    content = frame.content
    return (
        "masked" if content.get("sum") and content["do"] == "train" else str(content.get("stage"))
    )


def leaving_at(answer: Answer, stage: str) -> Answer:
    """A site that is gone when that stage comes; Flower says so."""
    gone = Frame(content={"error": "gone"})
    return lambda frame: gone if stage_of(frame) == stage else answer(frame)


def records(path: Path) -> list[dict]:
    return RunDirectory(path=path).rounds()


def params_of(path: Path) -> dict[str, torch.Tensor]:
    state = load_file(path / "state.safetensors")
    return {name: state[name] for name in state if name.startswith("params/")}


def test_sites_end_where_one_process_does_and_send_no_update(
    secure: RunConfig, tmp_path: Path
) -> None:
    bench, said = Bench(), []

    def listening(answer: Answer) -> Answer:
        def listen(frame: Frame) -> Frame | None:
            reply = answer(frame)
            said.append((stage_of(frame), reply))
            return reply

        return listen

    bench.answers = {n: listening(a) for n, a in answers_of(share_workers()).items()}
    run_sites(secure, tmp_path / "sites", bench)
    federation = federation_of(secure)
    here = create_run(tmp_path / "here", secure, overwrite=False)
    run_experiment(secure, federation, here, notify=lambda _event: None)
    there, here_ = params_of(tmp_path / "sites"), params_of(tmp_path / "here")
    assert all(torch.equal(there[name], here_[name]) for name in here_)
    for line, other in zip(records(tmp_path / "sites"), records(tmp_path / "here"), strict=True):
        for key in ("clients", "loss", "secure_sum", "uplink_bytes", "downlink_bytes"):
            assert line[key] == other[key]
    stages = [stage for stage, reply in said if reply is not None and reply.blobs]
    assert set(stages) == {"keys", "shares", "masked", "reveal"}
    plain = update_length(structure_of(federation.initial.params))
    for stage, reply in said:
        for blob in reply.blobs if reply is not None else ():
            # Uniform bytes: deflate finds nothing in them, as it does in any update.
            assert stage != "masked" or abs(len(blob) - plain) < 200
            assert b"num_examples" not in blob


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("shares", marks=pytest.mark.slow),
        "masked",
        pytest.param("reveal", marks=pytest.mark.slow),
    ],
)
def test_a_site_may_leave_before_any_stage(secure: RunConfig, tmp_path: Path, stage: str) -> None:
    answers = answers_of(share_workers())
    bench = Bench({**answers, 3: leaving_at(answers[3], stage)})
    run_sites(secure, tmp_path / "run", bench)
    (record,) = records(tmp_path / "run")
    assert len(record["clients"]) == (5 if stage == "reveal" else 4)
    assert record["loss"] > 0
    assert record["secure_sum"]["threshold"] == 4


def test_where_most_drop_out_nobody_is_asked(secure: RunConfig, tmp_path: Path) -> None:
    cohort = secure.cohort.model_copy(update={"dropout": 1 - 1e-12})
    bench = Bench(answers_of(share_workers()))
    run_sites(secure.model_copy(update={"cohort": cohort}), tmp_path / "run", bench)
    (record,) = records(tmp_path / "run")
    assert record["unused"] == "0 of 5 clients, and the secure sum takes 4"
    assert {frame.content["do"] for _, frame in bench.sent} == {"hello", "end"}


def test_below_the_threshold_the_round_changes_nothing(secure: RunConfig, tmp_path: Path) -> None:
    answers = answers_of(share_workers())
    bench = Bench({node: leaving_at(answers[node], "masked") for node in answers})
    bench.answers[1] = answers[1]
    with pytest.raises(SitesError, match=r"too few clients answered(.|\n)*2 of 5(.|\n)*4 \(sites"):
        run_sites(secure, tmp_path / "run", bench)
    assert records(tmp_path / "run") == []


def test_what_a_server_may_not_ask_of_a_site(secure: RunConfig, tmp_path: Path) -> None:
    workers = share_workers()
    bench = Bench(answers_of(workers))
    run_sites(secure, tmp_path / "run", bench)
    asked = [(n, frame) for n, frame in bench.sent if n == 1]
    by_stage = {stage_of(frame): frame for _, frame in asked}
    worker = workers[1]

    def said(frame: Frame, **changes: object) -> str:
        return str(worker.answer(Frame(content={**frame.content, **changes}, blobs=frame.blobs)))

    assert worker.answer(by_stage["reveal"]).blobs, "the same again is answered again"
    others = Frame(content=by_stage["reveal"].content, blobs=[by_stage["reveal"].blobs[0][:-2]])
    assert "both kinds of share of one client" in str(worker.answer(others))
    assert "the difference of two sums" in said(by_stage["keys"])
    assert "has not begun, or has left" in said(by_stage["shares"], sum="f" * 32)
    assert "out of its turn" in said(by_stage["shares"])
    assert "out of its turn" in said(by_stage["masked"])
    assert "as the configuration does not have it" in said(by_stage["masked"], sum=None)
