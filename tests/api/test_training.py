"""Runs by Python calls are the runs of the command line."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from tests.experiment import tracked
from tests.experiment.runs import records

import fedtt
from fedtt.api import training
from fedtt.config import RunConfig
from fedtt.config.parse import dump_config
from fedtt.errors import ConfigError, DataError, FedttError, RunError
from fedtt.experiment import Event, RoundDone, RunDone, StepDone, create_run

MakeConfig = Callable[..., RunConfig]
QUICK = {
    "rounds": 2,
    "client": {"steps": 1, "batch_size": 4},
    "evaluation": {"alone": False},
    "track": {"to": tracked.TENSORBOARD},
}


@pytest.fixture(scope="module")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> fedtt.Run:
    place = tmp_path_factory.mktemp("runs") / "mine"
    return fedtt.train(make_config(**QUICK), run=place, progress=False)


def without_data(config: RunConfig) -> dict[str, Any]:
    """The configuration as a table, for data that is in memory."""
    table = config.model_dump(mode="json", exclude_none=True)
    del table["data"]["path"]
    return table


def state_of(run: fedtt.Run) -> bytes:
    return (run.path / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_file_a_table_and_a_value_are_the_same_run(
    make_config: MakeConfig, finished: fedtt.Run, tmp_path: Path
) -> None:
    config = make_config(**QUICK)
    (tmp_path / "config.toml").write_text(dump_config(config))
    for number, given in enumerate(
        (tmp_path / "config.toml", config.model_dump(mode="json", exclude_none=True))
    ):
        run = fedtt.train(given, run=tmp_path / str(number), progress=False)
        assert state_of(run) == state_of(finished)
        assert run.config == finished.config


@pytest.mark.skipif(not tracked.TENSORBOARD, reason="pip install 'fedtt[tensorboard]'")
def test_a_tracker_follows_a_python_call(finished: fedtt.Run) -> None:
    points, told = tracked.tensorboard(finished.path)
    losses = {record["round"] + 1: record["loss"] for record in records(finished.path)}
    assert {step: x for (name, step), x in points.items() if name == "train/loss"} == pytest.approx(
        losses
    )
    assert told["ended"] == 1


def test_events_are_heard_and_nothing_is_printed(
    make_config: MakeConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Event] = []
    fedtt.train(make_config(**QUICK), run=tmp_path / "r", on_event=heard.append, progress=False)
    assert sum(isinstance(event, RoundDone) for event in heard) == 2
    assert isinstance(heard[-1], RunDone)
    assert capfd.readouterr().out == ""


def test_an_interrupted_run_goes_on_to_the_same_bits(
    make_config: MakeConfig, finished: fedtt.Run, tmp_path: Path
) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, RoundDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fedtt.train(make_config(**QUICK), run=tmp_path / "r", on_event=interrupt, progress=False)
    stopped = fedtt.open_run(tmp_path / "r")
    assert list(stopped.rounds.index) == [1]
    assert fedtt.load_runs(tmp_path)["state"].tolist() == ["stopped"]
    with pytest.raises(RunError, match="has not ended"):
        _ = stopped.results
    assert state_of(fedtt.resume(stopped, progress=False)) == state_of(finished)


@pytest.mark.parametrize("kind", [pd.DataFrame, Dataset.from_pandas])
def test_rows_in_memory_train_like_their_file(
    kind: Callable, make_config: MakeConfig, reviews: Path, finished: fedtt.Run, tmp_path: Path
) -> None:
    rows = kind(pd.read_json(reviews, lines=True).assign(name="Jane Doe"))
    table = without_data(make_config(**QUICK))
    run = fedtt.train(table, data=rows, run=tmp_path / "r", progress=False)
    assert state_of(run) == state_of(finished)
    kept = run.config.data.path
    assert kept.parent == tmp_path / "fedtt-data"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert pd.read_parquet(kept).columns.tolist() == ["text", "label", "client"]
    assert state_of(fedtt.resume(run, progress=False)) == state_of(finished)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pd.DataFrame({"text": []}), "no rows"),
        (pd.DataFrame({"text": ["a"], "label": [0], "Client": ["x"]}), "client_column"),
        (pd.DataFrame({"text": ["a", None], "label": [0, 1]}), "data=, row 2, column 'text'"),
        ([{"text": "a", "label": "b"}], "no table"),
        (DatasetDict(), "no table"),
    ],
)
def test_what_is_no_data_is_refused(
    rows: object, message: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    table = {**make_config().model_dump(mode="json", exclude_none=True), "data": {}}
    with pytest.raises(DataError, match=message):
        fedtt.train(table, data=rows, run=tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_data_given_twice_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": ["a"]})
    with pytest.raises(ConfigError, match="given twice"):
        fedtt.train(make_config(), data=rows, run=tmp_path / "r")
    table = without_data(make_config())
    for override in ("data.source=sst2", "data.path=other.csv"):
        with pytest.raises(ConfigError, match="given twice"):
            fedtt.train(table, data=rows, run=tmp_path / "r", overrides=override)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration"):
        fedtt.train(3, run=tmp_path / "r")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="does not hold together"):
        fedtt.train({"rounds": 0}, run=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_place_that_is_taken_is_refused(finished: fedtt.Run, make_config: MakeConfig) -> None:
    with pytest.raises(RunError, match="there is a run already"):
        fedtt.train(make_config(**QUICK), run=finished.path)


def test_under_torchrun_it_says_what_to_call(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        fedtt.train(make_config(), run=tmp_path / "r")


def test_tables_hold_what_the_files_hold(finished: fedtt.Run) -> None:
    summary = finished.summary
    assert summary is not None
    rounds, clients, results = finished.rounds, finished.clients, finished.results
    assert rounds["uplink_bytes"].sum() == summary["uplink_bytes"]
    assert (
        clients["uplink_bytes"].groupby("round").sum().tolist() == rounds["uplink_bytes"].tolist()
    )
    assert results["accuracy"].to_dict() == summary["test"]["accuracy"]
    assert results["before_loss"].to_dict() == summary["before"]["loss"]
    evaluated = finished.evaluate("test")
    assert evaluated["accuracy"].to_dict() == pytest.approx(summary["test"]["accuracy"])
    row = fedtt.load_runs(finished.path).iloc[0]
    assert row["test_accuracy"] == summary["test"]["accuracy"]["mean"]
    assert row["uplink_bytes"] == summary["uplink_bytes"]


def test_the_model_answers_as_predict_does(finished: fedtt.Run) -> None:
    texts = ["the film was good", "a dull plot"]
    model, tokenizer = finished.model()
    with torch.no_grad():
        logits = model.eval()(**tokenizer(texts, return_tensors="pt", padding=True)).logits
    table = finished.predict(texts)
    own = torch.tensor(table[["p_bad", "p_good"]].to_numpy(), dtype=torch.float32)
    torch.testing.assert_close(logits.softmax(-1), own, rtol=1e-4, atol=1e-5)
    assert finished.predict("good").shape == (1, 5)
    long = finished.predict([" ".join(["film"] * 40), "good"])
    assert long["cut_to"].tolist()[0] == 16
    assert pd.isna(long["cut_to"].tolist()[1])
    with pytest.raises(DataError, match=r"no text(.|\n)*text 2"):
        finished.predict(["good", float("nan")])  # type: ignore[list-item]


def test_a_table_is_answered_by_its_column_of_texts(
    finished: fedtt.Run, make_config: MakeConfig, tmp_path: Path
) -> None:
    texts = ["the film was good", "a dull plot"]
    table = pd.DataFrame({"other": ["x", "y"], "text": texts})
    expected = finished.predict(texts)
    for given in (table, Dataset.from_pandas(table), table["text"], table["text"].to_numpy()):
        pd.testing.assert_frame_equal(finished.predict(given), expected)
    assert finished.predict(table.iloc[:0]).columns.tolist() == expected.columns.tolist()
    with pytest.raises(DataError, match=r"no column 'text'(.|\n)*'other'"):
        finished.predict(table[["other"]])
    with pytest.raises(DataError, match=r"no text\n(.|\n)*column 'text', row 2"):
        finished.predict(table.assign(text=["good", None]))


@pytest.mark.parametrize("given", [{"text": ["good"]}, 5, None, b"good"])
def test_what_holds_no_texts_is_refused_by_its_name(finished: fedtt.Run, given: object) -> None:
    kind = type(given).__name__
    with pytest.raises(DataError, match=rf"no texts\n(.|\n)*got: +{kind}(.|\n)*column 'text'"):
        finished.predict(given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"no path of a file\n(.|\n)*got: +{kind}"):
        finished.predict_file(given, "out.csv")  # type: ignore[arg-type]


def test_a_split_there_is_none_of_is_refused(finished: fedtt.Run) -> None:
    with pytest.raises(RunError, match="no such split"):
        finished.evaluate("dev")


def test_a_picture_has_a_point_a_round(finished: fedtt.Run) -> None:
    figure = finished.plot()
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes] == [2, 2, 2, 2]
    assert "finished" in finished._repr_html_()


@pytest.mark.slow
def test_a_comparison_is_tables(tiny_bert: Path, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(
        f"""
rounds = 1
model = {{ name = {str(tiny_bert)!r}, max_length = 16 }}
data = {{ path = {str(reviews)!r}, test = 0.2, validation = 0.2 }}
client = {{ steps = 1, batch_size = 4 }}
evaluation = {{ before = false }}
[compare]
seeds = [0, 1]
reference = "b"
[[compare.settings]]
name = "as it comes"
[[compare.methods]]
name = "a"
set = {{ method.name = "fedtt", method.rank = 2, method.bottleneck = 8 }}
[[compare.methods]]
name = "b"
set = {{ method.name = "bitfit" }}
"""
    )
    result = fedtt.compare(tmp_path / "two.toml", out=tmp_path / "out", progress=False)
    assert result.table.index.get_level_values("method").tolist() == ["a", "b"]
    assert result.table["seeds"].tolist() == [2, 2]
    assert len(result.cells) == 4
    assert result.cells.groupby("method")["seed"].count().tolist() == [2, 2]
    score = result.table["score"].droplevel([0, 1])
    difference = result.table["difference"].droplevel([0, 1])
    assert difference["a"] == pytest.approx(score["a"] - score["b"])
    assert pd.isna(difference["b"])


def test_costs_are_those_of_the_command(tiny_bert: Path) -> None:
    table = fedtt.cost(tiny_bert, methods=["fedtt", "lora"], overrides=["rank=2"], rounds=3)
    assert table.index.tolist() == ["fedtt", "lora"]
    assert (table["server_uplink_bytes"] == 12 * table["uplink_bytes"]).all()
    with pytest.raises(ConfigError, match="no such argument"):
        fedtt.cost(tiny_bert, sites=3)
    with pytest.raises(ConfigError, match=r"no such number(.|\n)*clients"):
        fedtt.cost(tiny_bert, clients=0)
    assert fedtt.cost(tiny_bert, methods="lora", overrides="rank=2").index.tolist() == ["lora"]


def test_a_wrong_configuration_leaves_no_data_behind(
    make_config: MakeConfig, reviews: Path, tmp_path: Path
) -> None:
    rows = pd.read_json(reviews, lines=True)
    table = without_data(make_config(**QUICK))
    for wrong in ("rounds=0", "model.name=./nowhere", "data.label_column=tone"):
        with pytest.raises(FedttError):
            fedtt.train(table, data=rows, run=tmp_path / "r", overrides=[wrong])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_columns_that_no_file_holds_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    table = without_data(make_config())
    mixed = pd.DataFrame({"text": ["a", "b"], "label": [0, "good"], "client": ["n", "n"]})
    with pytest.raises(DataError, match="cannot be written as a table"):
        fedtt.train(table, data=mixed, run=tmp_path / "r")
    twice = pd.DataFrame([["a", "b", "c"]], columns=["text", "text", "label"])
    with pytest.raises(DataError, match=r"two columns of one name(.|\n)*text"):
        fedtt.train(table, data=twice, run=tmp_path / "r")


def test_classes_of_a_dataset_keep_their_names(
    make_config: MakeConfig, reviews: Path, tmp_path: Path
) -> None:
    rows = Dataset.from_pandas(pd.read_json(reviews, lines=True)).class_encode_column("label")
    table = without_data(make_config(**QUICK))
    run = fedtt.train(table, data=rows, run=tmp_path / "r", progress=False)
    assert set(run.predict("good").columns) >= {"p_bad", "p_good"}


def test_relative_paths_are_those_of_the_working_directory(
    make_config: MakeConfig, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_bytes(reviews.read_bytes())
    own = make_config(**QUICK)
    config = RunConfig(
        rounds=own.rounds,
        model=own.model,
        data={"path": "mine.jsonl", "test": 0.2, "validation": 0.2},
        method=own.method,
        client=own.client,
        evaluation=own.evaluation,
    )
    run = fedtt.train(config, run="r", progress=False)
    assert run.config.data.path == tmp_path / "mine.jsonl"
    monkeypatch.chdir(tmp_path.parent)
    assert run.evaluate("validation").loc["mean"].notna().all()


def test_overrides_are_those_of_the_command_line(make_config: MakeConfig, tmp_path: Path) -> None:
    table = without_data(make_config(**QUICK)) | {"method": {"name": "fedtt"}}
    table["data"]["path"] = str(make_config().data.path)
    run = fedtt.train(
        table,
        run=tmp_path / "r",
        overrides=["method.name=lora", "method.rank=1"],
        progress=False,
    )
    assert (run.config.method.name, run.config.method.rank) == ("lora", 1)


def test_one_run_that_cannot_be_read_spoils_no_table(finished: fedtt.Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished.path, tmp_path / name)
    with (tmp_path / "b" / "rounds.jsonl").open("w") as file:
        file.write("{}\n")
    table = fedtt.load_runs(tmp_path)
    assert table["state"].tolist() == ["finished", "unreadable"]
    assert "rounds.jsonl" in table["problem"].tolist()[1]


def test_a_run_before_its_first_round_has_tables_without_rows(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    create_run(tmp_path / "r", make_config(**QUICK), overwrite=False)
    run = fedtt.open_run(tmp_path / "r")
    assert run.rounds["uplink_bytes"].sum() == 0
    assert run.clients.empty
    with pytest.raises(RunError, match="nothing to draw yet"):
        run.plot()


def test_a_finished_run_is_only_read(
    finished: fedtt.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "build_federation", None)
    assert fedtt.resume(finished).path == finished.path


def test_an_interrupt_ends_after_the_step(make_config: MakeConfig, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, StepDone) and event.round_index == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fedtt.train(make_config(**QUICK), run=tmp_path / "r", on_event=interrupt, progress=False)
    assert list(fedtt.open_run(tmp_path / "r").rounds.index) == [1]
