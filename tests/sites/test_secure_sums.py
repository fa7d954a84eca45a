"""Secure sums over sites: the run of one process, sites that leave, what a server cannot ask."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.sites.in_process import (
    Answer,
    Bench,
    QuickSite,
    answers_of,
    federation_of,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.errors import SitesError
from fedtt.experiment import RunDirectory, create_run, run_experiment
from fedtt.federated.secure.share_disputes import REVEALED
from fedtt.federated.wire.broadcast import Broadcast, encode_broadcast
from fedtt.federated.wire.update import update_length
from fedtt.params import structure_of
from fedtt.sites.data_shares import Share
from fedtt.sites.frames import Frame
from fedtt.sites.site_worker import Worker
from fedtt.sites.unmasked_rounds import UnmaskedRounds

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


@pytest.mark.parametrize(
    "keys",
    [
        bytes(32) + b"k" * 32,
        *(pytest.param(keys, marks=pytest.mark.slow) for keys in (bytes(64), b"k" * 64, b"k" * 63)),
    ],
)
def test_a_site_with_bad_keys_is_refused_by_name_and_the_others_go_on(
    secure: RunConfig, tmp_path: Path, keys: bytes
) -> None:
    answers, news = answers_of(share_workers()), []

    def bad(frame: Frame) -> Frame | None:
        reply = answers[3](frame)
        if stage_of(frame) != "keys" or reply is None:
            return reply
        return Frame(content=reply.content, blobs=[keys] * len(reply.blobs))

    run_sites(secure, tmp_path / "run", Bench({**answers, 3: bad}), news=news)
    (record,) = records(tmp_path / "run")
    assert len(record["clients"]) == 4
    assert [line for line in news if "refused" in line and line.startswith("site-2: ")]


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
    assert "has not begun, or has left" in said(by_stage["shares"], sum="f" * 32)
    assert "out of its turn" in said(by_stage["shares"])
    assert "out of its turn" in said(by_stage["masked"])
    assert "as the configuration does not have it" in said(by_stage["masked"], sum=None)


def kept_worker(state: Path | None) -> Worker:
    """A site's process, the first of three."""
    site = QuickSite(name="site-0", data=Share(index=0, count=3))
    return Worker(site, tell=lambda _line: None, should_stop=lambda: False, state=state)


def asked_of_the_first(bench: Bench) -> dict[str, Frame]:
    """By stage, and the hello."""
    frames = [frame for node, frame in bench.sent if node == 1]
    return {
        "hello" if frame.content["do"] == "hello" else stage_of(frame): frame for frame in frames
    }


def with_changes(frame: Frame, **changes: object) -> Frame:
    return Frame(content={**frame.content, **changes}, blobs=frame.blobs)


def test_a_stage_belongs_to_the_round_that_its_keys_were_made_for(
    secure: RunConfig, tmp_path: Path
) -> None:
    workers = share_workers()
    answers, heard = answers_of(workers), []

    def first_asked_of_another_round(frame: Frame) -> Frame | None:
        stage = stage_of(frame)
        if stage in ("shares", "masked", "reveal"):
            heard.append((stage, str(workers[1].answer(with_changes(frame, round=1)))))
        return answers[1](frame)

    # A worker refuses what is of an earlier round than its latest.
    workers[1]._check_latest = lambda _index: None
    run_sites(secure, tmp_path / "run", Bench({**answers, 1: first_asked_of_another_round}))
    assert [stage for stage, _ in heard] == ["shares", "masked", "reveal"]
    assert all("of another round" in said for _, said in heard)


@pytest.mark.parametrize("restarted", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.slow
def test_a_round_is_unmasked_again_of_the_same_clients_alone_whatever_process_asks(
    secure: RunConfig, tmp_path: Path, *, restarted: bool
) -> None:
    worker = kept_worker(tmp_path / "state" if restarted else None)
    first = Bench({**answers_of(share_workers()), 1: worker.answer})
    run_sites(secure, tmp_path / "run", first)
    if restarted:
        worker = kept_worker(tmp_path / "state")
    shutil.copytree(tmp_path / "run", tmp_path / "lost")
    (tmp_path / "lost" / "state.safetensors").unlink()  # as a crash before saving leaves it
    for name in ("rounds.jsonl", "summary.json"):
        (tmp_path / "lost" / name).unlink()
    shutil.copytree(tmp_path / "lost", tmp_path / "fewer")
    heard, workers = [], share_workers()

    def listening(frame: Frame) -> Frame | None:
        reply = worker.answer(frame)
        heard.append((stage_of(frame), str(reply)))
        return reply

    again = {**answers_of(workers), 1: listening}
    second = Bench(again)
    run_sites(secure, tmp_path / "lost", second)
    there, once = params_of(tmp_path / "lost"), params_of(tmp_path / "run")
    assert all(torch.equal(there[name], once[name]) for name in once)
    sent = [frame for bench in (first, second) for _, frame in bench.sent]
    rosters = {frame.blobs[0] for frame in sent if stage_of(frame) == "shares"}
    assert len(rosters) == 2, "the keys are others"

    heard.clear()
    run_sites(secure, tmp_path / "fewer", Bench({**again, 3: leaving_at(again[3], "masked")}))
    (record,) = records(tmp_path / "fewer")
    assert record["unused"], "the round is lost, and not the run"
    assert "unmasking" in record["secure_sum"]["left"].values()
    (said,) = [reply for stage, reply in heard if stage == "reveal"]
    assert "the difference of two sums" in said
    start = federation_of(secure).initial.params
    left = params_of(tmp_path / "fewer")
    assert all(torch.equal(left[f"params/{name}"], start[name]) for name in start)


@pytest.mark.parametrize("change", [pytest.param("learning rate", marks=pytest.mark.slow), "start"])
def test_a_client_that_is_asked_something_else_in_the_same_round_sends_no_update(
    secure: RunConfig, tmp_path: Path, change: str
) -> None:
    """The others see the same sum again: it is the one whose task is another that refuses."""
    worker = kept_worker(tmp_path / "state")
    run_sites(secure, tmp_path / "run", Bench({**answers_of(share_workers()), 1: worker.answer}))
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    for name in ("state.safetensors", "rounds.jsonl", "summary.json"):
        (tmp_path / "again" / name).unlink()
    worker, heard = kept_worker(tmp_path / "state"), []
    whole = federation_of(secure).initial.params
    moved = {name: tensor + 1 for name, tensor in whole.items()}
    told = encode_broadcast(
        Broadcast(values=moved, trained=frozenset(whole)), structure=structure_of(whole)
    )

    def lied_to(frame: Frame) -> Frame | None:
        if stage_of(frame) != "masked":
            return worker.answer(frame)
        lie = with_changes(frame, learning_rate=0.0)
        if change == "start":
            payloads = {task["payload"] for task in frame.content["tasks"]}
            blobs = [told if i in payloads else blob for i, blob in enumerate(frame.blobs)]
            lie = Frame(content=frame.content, blobs=blobs)
        heard.append(worker.answer(lie))
        return heard[-1]

    with pytest.raises(SitesError, match="too few clients answered"):
        run_sites(secure, tmp_path / "again", Bench({**answers_of(share_workers()), 1: lied_to}))
    assert heard
    assert all("asked something else in the same round" in str(reply) for reply in heard)
    assert not any(reply.blobs for reply in heard)


@pytest.mark.parametrize("old", [{"format": 1, "round": 3},
                                 {"format": 2, "round": 3, "survivors": [1, 2]}])  # fmt: skip
def test_of_a_round_that_an_earlier_version_unmasked_nothing_more_is_said(
    tmp_path: Path, old: dict[str, object]
) -> None:
    (tmp_path / "unmasked-run.json").write_text(json.dumps(old))
    rounds = UnmaskedRounds(tmp_path)
    with pytest.raises(SitesError, match=r"summed again(.|\n)*round 4 or later"):
        rounds.check_round("run", 3)
    rounds.train("run", 4, {"a": "0" * 64})
    with pytest.raises(SitesError, match=r"something else(.|\n)*client a"):
        UnmaskedRounds(tmp_path).train("run", 4, {"a": "1" * 64})


@pytest.mark.slow
def test_one_who_lies_at_the_unmasking_is_named_and_changes_no_bit(
    secure: RunConfig, tmp_path: Path
) -> None:
    answers, news = answers_of(share_workers()), []

    def lying(frame: Frame) -> Frame | None:
        reply = answers[3](frame)
        if stage_of(frame) != "reveal" or reply is None:
            return reply
        return Frame(
            content=reply.content, blobs=[bytes(b ^ 1 for b in blob) for blob in reply.blobs]
        )

    run_sites(secure, tmp_path / "lie", Bench({**answers, 3: lying}), news=news)
    run_sites(secure, tmp_path / "run", Bench(answers_of(share_workers())))
    lied, honest = params_of(tmp_path / "lie"), params_of(tmp_path / "run")
    assert all(torch.equal(lied[name], honest[name]) for name in honest)
    (record,) = records(tmp_path / "lie")
    (reason,) = record["failed"].values()
    assert reason == REVEALED
    assert len(record["clients"]) == 5
    assert [line for line in news if line == f"site-2: its reply is refused: {REVEALED}"]


@pytest.mark.slow
def test_who_fails_alike_three_times_is_left_out_of_secure_rounds(
    secure: RunConfig, tmp_path: Path
) -> None:
    answers = answers_of(share_workers())

    def spoiling(frame: Frame) -> Frame | None:
        reply = answers[3](frame)
        if stage_of(frame) != "masked" or reply is None:
            return reply
        return Frame(content=reply.content, blobs=[b"nonsense"])

    bench = Bench({**answers, 3: spoiling})
    summary = run_sites(secure.model_copy(update={"rounds": 4}), tmp_path / "run", bench)
    found = records(tmp_path / "run")
    (name,) = found[0]["dropped"]
    assert [record.get("failed", {}) for record in found] == [summary["left_out"]] * 3 + [{}]
    assert summary["left_out"] == {name: "a masked update of another length"}
    assert [record["secure_sum"].get("left", {}) for record in found] == [
        *[{name: "masked update"}] * 3,
        {},
    ]
    assert all(record["loss"] > 0 and len(record["clients"]) == 4 for record in found)


def test_what_was_unmasked_is_written_before_it_is_said(secure: RunConfig, tmp_path: Path) -> None:
    state = tmp_path / "state"
    worker, found = kept_worker(state), {}

    def looking(frame: Frame) -> Frame | None:
        reply = worker.answer(frame)
        found[stage_of(frame)] = [path.read_text() for path in state.glob("unmasked-*.json")]
        return reply

    run_sites(secure, tmp_path / "run", Bench({**answers_of(share_workers()), 1: looking}))
    assert found["shares"] == []
    (masked,), (revealed,) = ([json.loads(t) for t in found[s]] for s in ("masked", "reveal"))
    assert {"format": 3, "round": 0, "survivors": None}.items() <= masked.items()
    assert len(masked["tasks"]) == 2
    assert revealed == {**masked, "survivors": [1, 2, 3, 4, 5]}
    (path,) = state.glob("unmasked-*.json")
    path.write_text("{}")
    with pytest.raises(SitesError, match=r"cannot be read\n.*unmasked-"):
        UnmaskedRounds(state).last(path.stem.removeprefix("unmasked-"))
