"""What is done with runs that are there: a list of them, and files classified."""

import csv
import json
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

import fedtt
from fedtt.atomic_write import replaced_file
from fedtt.config import RunConfig
from fedtt.data import labeled_file
from fedtt.experiment import create_run, run_rows
from fedtt.experiment.lock import locked, locked_if_free
from fedtt.experiment.run_rows import rows_at

MakeConfig = Callable[..., RunConfig]
Command = Callable[..., str]
ROWS = [
    {"id": "7", "note": 'a, "b"\nc', "text": "the film was great"},
    {"id": "8", "note": "OBX|1\rOBX|2", "text": "a dull plot"},
    {"id": "9", "note": "ü", "text": "really superb " * 20},
]


@pytest.fixture(scope="module")
def run(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> fedtt.Run:
    place = tmp_path_factory.mktemp("runs") / "mine"
    quick = {"rounds": 1, "client": {"steps": 2}, "evaluation": {"alone": False, "before": False}}
    return fedtt.train(make_config(**quick), run=place, progress=False)


def test_the_list_has_every_run_and_its_state(
    command: Command, run: fedtt.Run, make_config: MakeConfig
) -> None:
    place = run.path.parent
    create_run(place / "begun", make_config(), overwrite=False)
    create_run(place / "broken", make_config(), overwrite=False)
    (place / "broken" / "rounds.jsonl").write_text("{}\n")
    create_run(place / "deep" / "inner", make_config(), overwrite=False)
    with locked(place / "begun"):
        shown = json.loads(command("runs", place, "--json"))["runs"]
    rows = {Path(row["run"]).name: row for row in shown}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"mine": "finished", "begun": "running", "broken": "unreadable"}
    summary = run.summary
    assert summary is not None
    mine = rows["mine"]
    assert mine["test_accuracy"] == summary["test"]["accuracy"]["mean"]
    assert [mine[k] for k in ("rounds", "of_rounds", "score")] == [1, 1, "accuracy"]
    assert mine["uplink_bytes"] == summary["uplink_bytes"]
    table = command("runs", place, "--deep")
    assert {"mine", "begun", "broken", "deep/inner"} <= set(table.split())
    assert "stopped" in table  # the lock is free again
    assert "no run here" in command("runs", place / "gone", code=2)


def test_a_run_that_is_damaged_or_goes_away_ends_no_list(
    run: fedtt.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (run.path / "summary.json").read_text()
    damages = {"score": "accuracy", "before": {"accuracy": 1}, "alone": {"accuracy": {"x": 1.0}}}
    for key, value in damages.items():
        place = tmp_path / key
        shutil.copytree(run.path, place)
        (place / "summary.json").write_text(json.dumps({**json.loads(whole), key: value}))
    shutil.copytree(run.path, tmp_path / "whole")
    rows = {Path(row["run"]).name: row for row in rows_at(tmp_path)}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {**dict.fromkeys(damages, "unreadable"), "whole": "finished"}
    assert all(key in rows[key]["problem"] for key in damages)
    # Between its being found and its files being looked at, as --overwrite does.
    monkeypatch.setattr(run_rows, "run_state", lambda path, ended: shutil.rmtree(path))
    (row,) = (row for row in rows_at(tmp_path) if row["run"].endswith("whole"))
    assert "the run is gone" in row["problem"]


def test_a_list_keeps_nobody_from_going_on(run: fedtt.Run) -> None:
    listing = threading.Event()

    def look() -> None:
        with locked_if_free(run.path):
            listing.set()
            time.sleep(0.05)

    thread = threading.Thread(target=look)
    thread.start()
    assert listing.wait(5)
    with locked(run.path):
        pass
    thread.join()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('"\\ud800"', "surrogates"),
        ("NaN", "JSON"),
        ("1e999", "JSON"),
        ('1, "text": "c"', "stands twice"),
    ],
)
def test_a_value_that_is_no_json_is_refused_with_its_line(
    command: Command, run: fedtt.Run, tmp_path: Path, bad: str, message: str
) -> None:
    lines = '{"text": "good", "other": 1}\n{"text": "bad", "other": ' + bad + "}\n"
    (tmp_path / "in.jsonl").write_text(lines)
    said = command("predict", run.path, "--file", "in.jsonl", "--out", "o.jsonl", code=2)
    assert "in.jsonl:2" in said
    assert message in said
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def read(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_gets_its_answers_beside_every_row(
    command: Command,
    run: fedtt.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    monkeypatch.setattr(labeled_file, "ROWS_AT_ONCE", 2)  # the third comes in a chunk of its own
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    write(source, ROWS)
    shown = json.loads(command("predict", run.path, "--file", source, "--out", out, "--json"))
    written = read(out)
    own = list(ROWS[0])
    assert list(written[0]) == [*own, "predicted_label", "p_bad", "p_good"]
    assert [{key: row[key] for key in own} for row in written] == ROWS
    expected = run.predict([row["text"] for row in ROWS])
    assert [row["predicted_label"] for row in written] == expected["label"].tolist()
    for name in ("p_bad", "p_good"):
        assert [float(row[name]) for row in written] == pytest.approx(expected[name].tolist())
    assert (shown["rows"], shown["cut"], sum(shown["labels"].values())) == (3, 1, 3)
    refused = command("predict", run.path, "--file", source, "--out", out, code=2)
    assert "--overwrite" in refused
    command("predict", run.path, "--file", source, "--out", out, "--overwrite")
    assert {path.name for path in tmp_path.iterdir()} == {source.name, out.name}


@pytest.fixture(scope="module")
def rated(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> fedtt.Run:
    """A run of a regression on stars."""
    place = tmp_path_factory.mktemp("rated")
    words = {"great": 4.5, "good": 4.0, "dull": 1.5, "awful": 1.0}
    rows = [
        {"text": f"{filler} {word}", "label": stars}
        for filler in ("a film", "the plot", "quite", "the cast was", "really so")
        for word, stars in words.items()
    ]
    (place / "stars.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "rounds": 1,
        "data": {"path": str(place / "stars.jsonl"), "validation": 0.2, "test": 0.2},
        "task": {"kind": "regression"},
        "client": {"steps": 20, "batch_size": 4, "learning_rate": 0.03},
        "evaluation": {"alone": False, "before": False},
    }
    return fedtt.train(make_config(**changes), run=place / "run", progress=False)


def test_a_regression_answers_with_its_number(
    command: Command, rated: fedtt.Run, tmp_path: Path
) -> None:
    texts = [row["text"] for row in ROWS]
    model, tokenizer = rated.model()
    with torch.no_grad():
        cut = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=16)
        numbers = model.eval()(**cut).logits.squeeze(-1).tolist()
    table = rated.predict(texts)
    assert table.columns.tolist() == ["text", "value", "cut_to"]
    assert table["value"].tolist() == pytest.approx(numbers, rel=1e-4)
    assert table["cut_to"].tolist()[2] == 16
    assert 0.5 < table["value"].mean() < 5  # on the scale of the labels, as nothing rescales them
    assert rated.predict([]).columns.tolist() == ["text", "value", "cut_to"]
    assert command("predict", rated.path, texts[1]).split() == [
        f"{numbers[1]:.4f}",
        "a",
        "dull",
        "plot",
    ]
    (shown,) = json.loads(command("predict", rated.path, texts[1], "--json"))
    assert shown == {"text": texts[1], "value": pytest.approx(numbers[1]), "cut_to_tokens": None}
    source = tmp_path / "in.jsonl"
    write(source, ROWS)
    told = command("predict", rated.path, "--file", source, "--out", "o.jsonl")
    assert told.startswith("3 rows; ")
    written = read(tmp_path / "o.jsonl")
    assert list(written[0]) == [*ROWS[0], "predicted_value"]
    assert [row["predicted_value"] for row in written] == pytest.approx(numbers, rel=1e-4)
    done = rated.predict_file(source, tmp_path / "p.jsonl")
    assert (done.rows, done.labels, done.cut) == (3, {}, 1)


BAD_FILES = {
    "no text column": ("id,txt\n1,good\n", "no column 'text'"),
    "an empty text": ('text\ngood\n" "\n', "in.csv:3"),
    "no rows": ("text\n", "no examples"),
    "a column that would be written twice": ("text,p_bad\ngood,1\n", "'p_bad'"),
    "a short row": ("text,id\ngood\n", "1 fields"),
    "bytes that are no text": (b"text\ncaf\xe9\n", "Latin-1"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_classified_leaves_nothing(
    command: Command, run: fedtt.Run, tmp_path: Path, case: str
) -> None:
    content, message = BAD_FILES[case]
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "in.csv").write_bytes(data)
    assert message in command("predict", run.path, "--file", "in.csv", "--out", "o.csv", code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_options_of_predict_that_make_no_question(
    command: Command, run: fedtt.Run, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\n")
    for arguments, message in (
        ((), "nothing to answer"),
        (("good", "--file", "in.csv", "--out", "o.csv"), "texts and a file at once"),
        (("--file", "in.csv"), "--file goes with --out"),
        (("good", "--out", "o.csv"), "go with --file"),
        (("--file", "gone.csv", "--out", "o.csv"), "no such file"),
        (("--file", "in.csv", "--out", "o.parquet"), "of the same kind"),
        (("--file", "in.csv", "--out", "gone/o.csv"), "no such directory"),
    ):
        assert message in command("predict", run.path, *arguments, code=2)


def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeled_file, "ROWS_AT_ONCE", 100)
    source = tmp_path / "in.csv"
    peaks = []
    for rows in (500, 5_000):
        source.write_text("text\n" + "good film\n" * rows)
        tracemalloc.start()
        with replaced_file(tmp_path / "out.csv") as target:
            labeled_file.copy_with(
                source,
                target,
                wanted=["text"],
                new=["label"],
                answer=lambda columns: {"label": ["x"] * len(columns[0])},
            )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "out.csv").read_text().count("\n") == 5_001
    assert peaks[1] < 1.2 * peaks[0]
