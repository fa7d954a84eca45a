"""TensorBoard, MLflow and Weights & Biases say of a run what its own files say, once each."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from tests.experiment import tracked
from tests.experiment.runs import run_and_hear

from fedtt.config import RunConfig, load_comparison
from fedtt.errors import FedttError
from fedtt.experiment import (
    Evaluated,
    Event,
    RoundDone,
    RunDirectory,
    RunDone,
    RunPrepared,
    TrackerLost,
    begin_new,
    create_run,
    take_up_run,
)
from fedtt.experiment.comparison import run_comparison
from fedtt.experiment.fan_out import fan_out
from fedtt.experiment.tracking.logged_values import LONGEST, parameters, round_values
from fedtt.extras import EXTRAS, Extra
from fedtt.trackers import TRACKERS

MakeConfig = Callable[..., RunConfig]
Points = tracked.Points
ROUNDS = 3


def needs(name: str) -> pytest.MarkDecorator:
    missing = bool(EXTRAS[name].missing)
    return pytest.mark.skipif(missing, reason=f"pip install 'fedtt[{name}]'")


# Those that take seconds to be imported in the slow run alone.
ALL = [
    pytest.param("tensorboard", marks=needs("tensorboard")),
    *(pytest.param(name, marks=[needs(name), pytest.mark.slow]) for name in ("mlflow", "wandb")),
]


def record(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "round": index,
        "loss": 0.5 / (index + 1),
        "learning_rate": 0.25,
        "validation": {
            name: {"mean": base + index, "north": 0.0, "pooled": base + index + 0.5}
            for name, base in (("accuracy", 1.0), ("loss", 2.0))
        },
        "uplink_bytes": 100 + index,
        "downlink_bytes": 1000,
        "seconds": 2.0,
        "clients": {name: {"uplink_bytes": 1, "downlink_bytes": 1} for name in ("north", "south")},
        "dropped": {"west": 5.0},
        **changes,
    }


RECORDS = [record(index) for index in range(ROUNDS)]
TEST = {"accuracy": {"mean": 0.75, "north": 0.5}, "loss": {"mean": 0.25, "north": 0.5}}
SUMMARY = {"seconds": 6.0, "test": TEST, "before": None, "alone": TEST}


def expected(rounds: int) -> Points:
    found: Points = {}
    for index in range(rounds):
        for name, value in {
            "train/loss": 0.5 / (index + 1),
            "train/learning_rate": 0.25,
            "validation/accuracy": 1.0 + index,
            "validation/accuracy_pooled": 1.5 + index,
            "validation/loss": 2.0 + index,
            "validation/loss_pooled": 2.5 + index,
            "bytes/up": 100 + index,
            "bytes/down": 1000,
            "bytes/total": sum(1100 + earlier for earlier in range(index + 1)),
            "clients/answered": 2,
            "clients/dropped": 1,
            "time/seconds": 2.0,
        }.items():
            found[name, index + 1] = value
    return found


RESULT = {
    (f"{what}/{name}", ROUNDS): value
    for what in ("test", "alone")
    for name, value in (("accuracy", 0.75), ("loss", 0.25))
}


def prepared(next_round: int) -> RunPrepared:
    return RunPrepared(
        rounds=ROUNDS,
        next_round=next_round,
        clients=("north", "south", "west"),
        cohort_size=3,
        alone=False,
        exchanged_parameters={},
        sent_bytes=0,
        notes=(),
    )


def tell(
    config: RunConfig, path: Path, events: Iterable[Event], *, killed: bool = False
) -> list[Event]:
    """One process that works on the run: its trackers hear the events; what else was said."""
    said: list[Event] = []

    class Killed(Exception):
        pass

    directory = RunDirectory(path=path)
    try:
        with fan_out(config, directory, said.append) as notify:
            for event in events:
                if isinstance(event, RoundDone):
                    directory.append_round(event.record)
                notify(event)
            if killed:
                raise Killed
    except Killed:
        pass
    return [event for event in said if isinstance(event, TrackerLost)]


def rounds(*indices: int) -> list[Event]:
    return [RoundDone(record=RECORDS[index], rounds=ROUNDS) for index in indices]


def points_of(name: str, path: Path) -> Points:
    found: Points = getattr(tracked, name)(path)[0]
    return found


@pytest.fixture
def asked(make_config: MakeConfig, tmp_path: Path) -> Callable[..., RunConfig]:
    """A configuration that names trackers, and a run of it in ``run``, of which nothing is done."""

    def make(*names: str, **changes: object) -> RunConfig:
        config = make_config(rounds=ROUNDS, track={"to": list(names)}, **changes)
        create_run(tmp_path / "run", config, overwrite=True)
        return config

    return make


@pytest.mark.parametrize("name", ALL)
def test_every_value_is_there_once_however_often_the_run_was_killed(
    asked: Callable[..., RunConfig], tmp_path: Path, name: str
) -> None:
    config, path = asked(name, seed=7), tmp_path / "run"
    assert tell(config, path, [prepared(0), *rounds(0)], killed=True) == []
    # Saved, and not told of: a tracker catches up with what the run's files say.
    RunDirectory(path=path).append_round(RECORDS[1])
    assert tell(config, path, [prepared(2)], killed=True) == []
    assert points_of(name, path) == pytest.approx(expected(2))
    note = path / "track" / f"{name}.json"
    first = json.loads(note.read_text())
    assert not first["ended"]
    assert tell(config, path, [prepared(2), *rounds(2), RunDone(summary=SUMMARY)]) == []
    assert tell(config, path, [prepared(3), RunDone(summary=SUMMARY)]) == []  # finished already
    assert points_of(name, path) == pytest.approx({**expected(ROUNDS), **RESULT})
    last = json.loads(note.read_text())
    assert (last["id"], last["ended"]) == (first["id"], True)
    told = {
        "tensorboard": lambda: tracked.tensorboard(path)[1],
        "mlflow": lambda: tracked.mlflow(path)[1].data.params,
        "wandb": lambda: tracked.wandb(path)[1],
    }[name]()
    wanted: Any = {"seed": 7, "method.name": "fedtt", "data.path": "reviews.jsonl"}
    assert {key: told[key] for key in wanted} in (wanted, {k: str(v) for k, v in wanted.items()})


@needs("mlflow")
@pytest.mark.slow
def test_mlflow_says_how_the_run_ended(
    asked: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config, path = asked("mlflow"), tmp_path / "run"
    tell(config, path, [prepared(0), *rounds(0)], killed=True)
    assert tracked.mlflow(path)[1].info.status == "KILLED"
    tell(config, path, [prepared(1), *rounds(1, 2), RunDone(summary=SUMMARY)])
    found = tracked.mlflow(path)[1]
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    tell(config, path, [prepared(3)])  # a server that is resumed after the end
    assert tracked.mlflow(path)[1].info.status == "FINISHED"
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}
    assert "MLFLOW_ALLOW_FILE_STORE" not in os.environ
    # Where the user says where, there.
    elsewhere = asked("mlflow")
    assert not (path / "track").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    assert tell(elsewhere, path, [prepared(0), *rounds(0)]) == []
    assert list((path / "track" / "mlflow").iterdir()) == []
    assert (tmp_path / "elsewhere").is_dir()


@needs("wandb")
@pytest.mark.slow
def test_wandb_writes_offline_and_nothing_of_the_machine(
    asked: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config, path = asked("wandb"), tmp_path / "run"
    tell(config, path, [prepared(0), *rounds(0)], killed=True)
    tell(config, path, [prepared(1), *rounds(1, 2), RunDone(summary=SUMMARY)])
    assert tracked.wandb(path)[2] == [0, 1, 2, 3]  # rows of both processes
    files = list((path / "track" / "wandb").rglob("*.wandb"))
    assert [file.parent.name.split("-")[0] for file in files] == ["offline", "offline"]
    for file in files:
        for private in (str(tmp_path), "north"):
            assert private.encode() not in file.read_bytes()
    assert {entry.name for entry in tmp_path.iterdir()} <= {"run"}


@needs("tensorboard")
def test_a_tracker_that_is_new_to_a_run_hears_all_of_it_and_late_validation(
    asked: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config, path = asked("tensorboard"), tmp_path / "run"
    for each in (RECORDS[0], record(1, validation=None)):
        RunDirectory(path=path).append_round(each)
    measured = Evaluated(what="validation", metrics=RECORDS[1]["validation"])
    assert tell(config, path, [prepared(2), measured]) == []
    assert points_of("tensorboard", path) == pytest.approx(expected(2))


def test_of_a_private_round_nothing_is_told_but_what_its_record_says() -> None:
    private = record(
        0,
        loss=None,
        validation=None,
        clients={"0": {"uplink_bytes": 60, "downlink_bytes": 500}},
        dropped={},
        privacy={"epsilon": 1.5, "delta": 1e-3, "noise_multiplier": 1.0, "clipping_norm": 0.1},
    )
    assert round_values(private, bytes_before=10) == {
        "train/learning_rate": 0.25,
        "bytes/up": 100,
        "bytes/down": 1000,
        "bytes/total": 1110,
        "clients/answered": 1,
        "clients/dropped": 0,
        "time/seconds": 2.0,
        "privacy/epsilon": 1.5,
    }
    spent = {"epsilon": 2.5, "delta": 1e-3, "clients": {"north": 2.5}}
    of_examples = round_values(record(0, loss=None, example_privacy=spent), bytes_before=0)
    assert of_examples["privacy/example_epsilon"] == 2.5
    assert "train/loss" not in of_examples
    assert not any("north" in name for name in of_examples)


def test_parameters_hold_no_place_of_this_machine() -> None:
    found = parameters(
        {
            "seed": 2**62,
            "data": {
                "path": "/home/me/my secret/a.csv",
                "names": ["/tmp/b", "/no_think yes/no"],
                "test": None,
            },
            "model": {"name": "C:\\Users\\me\\model", "revision": "org/name"},
            "task": {"prompt": "x" * 10_000, "wörds: {a}": True},
            "sites": {"names": ["north"], "deadline": 5.0},
            "track": {"to": ["wandb"]},
        }
    )
    version = found.pop("fedtt")
    assert version
    assert found == {
        "seed": str(2**62),
        "data.path": "a.csv",
        "data.names": '["b", "/no_think yes/no"]',
        "model.name": "model",
        "model.revision": "org/name",
        "task.prompt": "x" * LONGEST,
        "task.wörds_ _a_": True,
        "sites.deadline": 5.0,
    }


@needs("tensorboard")
def test_a_damaged_note_loses_the_tracker_and_not_the_run(
    asked: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = asked("tensorboard")
    (tmp_path / "run" / "track").mkdir()
    (tmp_path / "run" / "track" / "tensorboard.json").write_text('{"id": 3}')
    (lost,) = tell(config, tmp_path / "run", [prepared(0), *rounds(0)])
    assert isinstance(lost, TrackerLost)
    assert lost.name == "tensorboard"


@pytest.mark.parametrize("name", TRACKERS.own_names)
def test_a_tracker_whose_extra_is_missing_is_refused_before_anything_is_built(
    asked: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    gone = replace(EXTRAS[name], modules=("no_such_module",))
    monkeypatch.setitem(EXTRAS, name, gone)  # type: ignore[arg-type]
    config = asked(name)
    fix = rf"pip install 'fedtt\[{name}\]'"

    def build(_: RunConfig) -> Any:
        raise AssertionError("built")

    with pytest.raises(FedttError, match=fix):
        begin_new(config, build, place=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(FedttError, match=fix):
        take_up_run(tmp_path / "run", build)
    # It goes on without: who follows a run is no part of it.
    given = config.model_copy(update={"track": type(config.track)()})
    with pytest.raises(AssertionError, match="built"):
        take_up_run(tmp_path / "run", build, given=given)
    table = config.model_dump(mode="json", exclude_none=True, exclude={"seed", "method"})
    rows = {
        "seeds": [0],
        "settings": [{"name": "all"}],
        "methods": [{"name": "a", "set": {"method.name": "lora"}}],
    }
    (tmp_path / "c.toml").write_text(tomli_w.dumps({**table, "compare": rows}))
    with pytest.raises(FedttError, match=fix):
        run_comparison(load_comparison(tmp_path / "c.toml"), tmp_path / "out", notify=print)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_by_wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert Extra(purpose="", modules=("left_by_wandb",)).missing == ("left_by_wandb",)


@needs("tensorboard")
@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_is_followed_to_its_result(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    quick = {"client": {"steps": 1, "batch_size": 4}, "evaluation": {"alone": False}}
    config, path = make_config(rounds=3, track={"to": ["tensorboard"]}, **quick), tmp_path / "run"
    for stop_after in (2, None):
        run_and_hear(config, path, stop_after=stop_after)
    points = points_of("tensorboard", path)
    lines = RunDirectory(path=path).rounds()
    for line in lines:
        after = line["round"] + 1
        assert points["train/loss", after] == pytest.approx(line["loss"])
        accuracy = line["validation"]["accuracy"]["mean"]
        assert points["validation/accuracy", after] == pytest.approx(accuracy)
    summary = json.loads((path / "summary.json").read_text())
    assert points["test/loss", 3] == pytest.approx(summary["test"]["loss"]["mean"])
    sent = summary["uplink_bytes"] + summary["downlink_bytes"]
    assert points["bytes/total", 3] == sent
