"""A site that answers nonsense is named and left out; the round is that of the others."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.sites.in_process import (
    Bench,
    answers_of,
    federation_of,
    run_sites,
    share_workers,
)

from fedtt.config import RunConfig
from fedtt.errors import WireError
from fedtt.experiment import RunDirectory
from fedtt.federated.round import ClientTask, tasks_of
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.update import encode_update
from fedtt.sites.expected_metrics import Measured
from fedtt.sites.frames import Frame
from fedtt.sites.replies import check_count, check_metrics, check_update

Spoil = Callable[[Frame], Frame]


def with_blob(blob: bytes) -> Spoil:
    return lambda frame: Frame(content=frame.content, blobs=[blob])


def with_content(**changes: Any) -> Spoil:
    return lambda frame: Frame(content={**frame.content, **changes}, blobs=frame.blobs)


def update_of(delta: dict[str, torch.Tensor], *, num_examples: int = 26) -> bytes:
    return encode_update(
        ClientUpdate(delta=delta, num_examples=num_examples, num_steps=3, loss=0.5)
    )


def honest_delta(path: Path) -> dict[str, torch.Tensor]:
    state = load_file(path / "state.safetensors")
    return {k.removeprefix("params/"): v for k, v in state.items() if k.startswith("params/")}


def poisoned(kind: str, delta: dict[str, torch.Tensor]) -> bytes:
    first = sorted(delta)[0]
    nan = torch.full_like(delta[first], torch.nan)
    return {
        "nan": lambda: update_of({**delta, first: nan}),
        "infinite": lambda: update_of({**delta, first: nan.fill_(torch.inf)}),
        "shape": lambda: update_of({**delta, first: delta[first].flatten()[:-1]}),
        "names": lambda: update_of({f"lora_A.{n}": v for n, v in delta.items()}),
        "fewer": lambda: update_of({n: v for n, v in delta.items() if n != first}),
        "type": lambda: update_of({n: v.double() for n, v in delta.items()}),
        "weight": lambda: update_of(delta, num_examples=10**9),
        "garbage": lambda: b"\x80\x04\x95garbage" * 100,
        "empty": lambda: b"",
        "long header": lambda: (2**40).to_bytes(8, "little") + b"{" * 1000,
        "a gigabyte": lambda: bytes(2**30),
    }[kind]()


KINDS = [
    "nan", "infinite", "shape", "names", "fewer", "type", "weight",
    "garbage", "empty", "long header", "a gigabyte",
]  # fmt: skip


@pytest.fixture(scope="module")
def without_west(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the others make: west, the third site, says that it cannot."""
    path = tmp_path_factory.mktemp("without") / "run"
    spoiled_run(config, path, lambda _: Frame(content={"error": "no"}))
    return path


def spoiled_run(config: RunConfig, path: Path, spoil: Spoil) -> list[str]:
    workers = share_workers()
    answers = answers_of(workers)

    def spoiled(frame: Frame) -> Frame:
        reply = workers[3].answer(frame)
        return spoil(reply) if frame.content["do"] == "train" else reply

    answers[3] = spoiled
    news: list[str] = []
    run_sites(config, path, Bench(answers), news=news)
    return news


def assert_unharmed(path: Path, without: Path) -> None:
    mine, theirs = (load_file(p / "state.safetensors") for p in (path, without))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    (record,) = RunDirectory(path=path).rounds()
    assert list(record["clients"]) == ["north", "south"]
    assert list(record["dropped"]) == ["west"]


@pytest.fixture(scope="module")
def task(config: RunConfig) -> ClientTask:
    """What west, the third client, is told in the first round."""
    federation = federation_of(config)
    (found,) = tasks_of(
        federation.initial,
        method=federation.method,
        population=federation.population,
        cohort=[2],
        trained=federation.method.trained(federation.initial),
        learning_rate=1e-2,
    )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_update_is_no_update(config: RunConfig, task: ClientTask, kind: str) -> None:
    delta = dict(federation_of(config).initial.params)
    good = update_of(delta)
    assert check_update(good, task, num_examples=26).size == len(good)
    with pytest.raises(WireError):
        check_update(poisoned(kind, delta), task, num_examples=26)


@pytest.mark.parametrize("kind", ["nan", "names", "a gigabyte"])
def test_a_bad_update_is_refused_by_name(
    config: RunConfig, without_west: Path, tmp_path: Path, kind: str
) -> None:
    blob = poisoned(kind, honest_delta(without_west))
    news = spoiled_run(config, tmp_path / "run", with_blob(blob))
    assert any(line.startswith("site-2: its reply is refused") for line in news), news
    assert_unharmed(tmp_path / "run", without_west)


@pytest.mark.parametrize("count", [0, 2])
def test_a_reply_has_one_update_a_client(count: int) -> None:
    check_count([b"one"], expected=1)
    with pytest.raises(WireError, match="not one update a client"):
        check_count([b""] * count, expected=1)


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        {},
        {"test": None},
        {"test": {"west": {"loss": "nan"}}},
        {"test": {"west": {"loss": float("nan")}}},
        {"test": {"west": {"loss": True}}},
        {"test": {"west": {"loss": 10**400}}},
        {"test": {"north": {"loss": 0.0}}},
        {"train": {"west": {"loss": 0.0}}},
        {"test": {"west": {}}},
        {"test": {"west": {str(i): 0.0 for i in range(1000)}}},
    ],
)
def test_bad_metrics_are_no_metrics(metrics: object) -> None:
    measured = Measured(names=frozenset({"loss"}), shared=frozenset())
    fine = {"test": {"west": {"loss": 1}}}
    assert check_metrics(fine, splits=["test"], own=["west"], measured=measured) == fine
    with pytest.raises(WireError):
        check_metrics(metrics, splits=["test"], own=["west"], measured=measured)


def test_metrics_of_other_names_than_the_task_s_are_left_out(
    config: RunConfig, tmp_path: Path
) -> None:
    spoil = with_content(metrics={"test": {"west": {"profit": 1e9}}})
    spoiled_run(config, tmp_path / "run", spoil)
    before = json.loads((tmp_path / "run" / "baselines.json").read_text())["before"]
    assert set(before["loss"]) == {"mean", "north", "south"}
    assert "profit" not in before


def test_what_a_site_says_cannot_move_the_terminal(config: RunConfig, tmp_path: Path) -> None:
    news = spoiled_run(
        config, tmp_path / "run", lambda _: Frame(content={"error": "\x1b[2Jgone" + "x" * 10**6})
    )
    (line,) = [line for line in news if "gone" in line]
    assert "\x1b" not in line
    assert len(line) < 1000
