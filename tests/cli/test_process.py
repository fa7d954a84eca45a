"""The command line as a user meets it: a real process, its streams, its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.data.named_rows import rows_of, write_rows
from tests.tiny import write_reviews

from fedtt.config import RunConfig, dump_config

MakeConfig = Callable[..., RunConfig]
FEDTT = [sys.executable, "-m", "fedtt"]


def fedtt(*arguments: object, cwd: Path | None = None, code: int = 0) -> str:
    """Standard output of a finished process that must exit with ``code``."""
    done = subprocess.run(
        [*FEDTT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def config_file(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(dump_config(make_config(rounds=2)))
    return path


@pytest.fixture(scope="module")
def run(config_file: Path) -> Path:
    path = config_file.parent / "run"
    fedtt("train", config_file, "--run", path, "--quiet")
    return path


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["compare", "--help"], ["--version"]]
)
def test_help_imports_neither_torch_nor_transformers(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fedtt", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"torch", "transformers", "peft", "numpy", "pydantic"}


def test_help_lists_the_verbs() -> None:
    verbs = fedtt("--help")
    assert all(
        verb in verbs for verb in ("train", "compare", "evaluate", "predict", "cost", "data")
    )


def test_train_tells_its_story_in_plain_lines(config_file: Path, tmp_path: Path) -> None:
    output = fedtt("train", config_file, cwd=tmp_path)
    assert "before training: accuracy" in output
    assert "round   2/2  cohort 3  loss" in output
    assert "FedAvg with LoRA r=8 would have sent" in output
    assert "\x1b" not in output
    (directory,) = (tmp_path / "runs").iterdir()
    assert (directory / "summary.json").exists()


@pytest.mark.slow  # several processes that each load torch
def test_train_quiet_and_json(config_file: Path, tmp_path: Path) -> None:
    assert fedtt("train", config_file, "--run", tmp_path / "a", "--quiet") == ""
    summary = json.loads(fedtt("train", config_file, "--run", tmp_path / "b", "--json"))
    assert summary["rounds"] == 2
    assert summary["test"] == json.loads((tmp_path / "a" / "summary.json").read_text())["test"]


@pytest.mark.slow
def test_evaluate(run: Path) -> None:
    shown = json.loads(fedtt("evaluate", run, "--json"))
    summary = json.loads((run / "summary.json").read_text())
    assert shown == {"split": "test", "metrics": summary["test"]}
    assert "validation split" in fedtt("evaluate", run, "--split", "validation")


@pytest.mark.slow
def test_predict(run: Path) -> None:
    first, second = json.loads(fedtt("predict", run, "a great plot", "[bold] dull", "--json"))
    assert first["label"] in {"good", "bad"}
    assert second["text"] == "[bold] dull"
    assert "[bold] dull" in fedtt("predict", run, "[bold] dull")


@pytest.mark.slow  # a process that loads torch
def test_predict_notes_what_it_cut_beside_its_output(run: Path) -> None:
    argv = [*FEDTT, "predict", str(run), "a plot", "a great plot " * 99, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert [text["cut_to_tokens"] for text in json.loads(done.stdout)] == [None, 16]
    assert done.stderr.splitlines()[-1].startswith("note: text 2 is longer than model.max_length")


@pytest.mark.slow  # several processes that each load torch
def test_generate_prints_what_the_model_writes(
    make_config: MakeConfig, tiny_llama: Path, tmp_path: Path
) -> None:
    table = {"kind": "language-modeling"}
    config = make_config(
        rounds=1, model={"name": str(tiny_llama), "max_length": 16, "device": "cpu"}, task=table
    )
    (tmp_path / "config.toml").write_text(dump_config(config))
    fedtt("train", tmp_path / "config.toml", "--run", tmp_path / "run", "--quiet")
    asked = ("generate", tmp_path / "run", "--prompt", "good film", "--max-new-tokens", 5)
    written = json.loads(fedtt(*asked, "--temperature", 1, "--seed", 3, "--json"))
    assert written["prompt"] == "good film"
    assert fedtt(*asked, "--temperature", 1, "--seed", 3).split() == written["text"].split()


@pytest.mark.slow  # several processes that each load torch
def test_predict_of_any_bytes_and_to_any_stream(run: Path) -> None:
    """Bytes that are not UTF-8 are refused; a stream that lacks a character gets it escaped."""
    done = subprocess.run([*FEDTT, "predict", run, b"caf\xe9"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"a text is not valid Unicode\n  where: text 1" in done.stderr
    assert b"Traceback" not in done.stderr
    for options in ([], ["--json"]):
        done = subprocess.run(
            [*FEDTT, "predict", run, *options, "--", "-5 \u00fc"],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert done.stdout.isascii()
    assert json.loads(done.stdout)[0]["text"] == "-5 \u00fc"


@pytest.mark.slow  # several processes that each load torch
def test_cost_of_a_directory_and_of_its_config_file_agree(tiny_bert: Path) -> None:
    by_directory = json.loads(fedtt("cost", "--model", tiny_bert, "--method", "fedtt", "--json"))
    by_file = json.loads(
        fedtt("cost", "--model", tiny_bert / "config.json", "--method", "fedtt", "--json")
    )
    assert by_directory["methods"] == by_file["methods"]
    counts = by_directory["methods"]["fedtt"]["exchanged_parameters"]
    # TT 32 x 64, rank 5, modes [8, 4 | 8, 8]: 40 + 100 + 200 + 40 = 380; 8 of them; head 66.
    assert counts == {"cores": 8 * 380, "head": 66, "total": 3106}
    table = fedtt("cost", "--model", tiny_bert, "--set", "rank=3")
    assert "fedtt" in table
    assert "lora" in table


def test_preview(config_file: Path) -> None:
    shown = json.loads(fedtt("data", "preview", config_file, "--json"))
    assert [client["client_id"] for client in shown["clients"]] == ["north", "south", "west"]
    assert "north" in fedtt("data", "preview", config_file)


def test_list_of_tasks() -> None:
    shown = {row["name"]: row for row in json.loads(fedtt("data", "list", "--json"))["sources"]}
    assert len(shown) == 23
    assert shown["stsb"]["kind"] == "regression"
    assert shown["mnli-mm"]["test_split"] == "validation_mismatched"
    assert shown["sentiment-silos"]["hub_id"] is None
    lines = fedtt("data", "list").splitlines()
    (record,) = [line for line in lines if " record " in line]
    cells = [cell.strip() for cell in record.split("│")]
    assert cells[3:6] == ["choice_f1, choice_exact_match", "2", "aps/super_glue/record"]
    (stsb,) = [line for line in lines if " stsb " in line]
    assert [cell.strip() for cell in stsb.split("│")][3:5] == ["pearson, spearman", "-"]
    (squad,) = [line for line in lines if " squad " in line]
    assert [cell.strip() for cell in squad.split("│")][3:5] == ["f1, exact_match", "-"]


@pytest.mark.parametrize("name", ["stsb", "record"])
def test_preview_of_a_named_task(config_file: Path, tmp_path: Path, name: str) -> None:
    rows = rows_of(name)
    key = "sentence1" if name == "stsb" else "passage"
    train = [row | {key: f"{row[key]} {i}"} for i in range(12) for row in rows]
    write_rows(tmp_path / "train.jsonl", train)
    write_rows(tmp_path / "validation.jsonl", rows)
    path = tmp_path / "named.toml"
    path.write_text(
        'rounds = 1\nmodel = { name = "minilm" }\nmethod = { name = "fedtt" }\n'
        f'data = {{ source = "{name}", directory = "." }}\n'
    )
    shown = json.loads(fedtt("data", "preview", path, "--json"))
    (client,) = shown["clients"]
    if name == "stsb":  # scores 5, 2.5, 0, 3.2: a quarter each of 5 and 0, half of 3
        assert client["label_shares"] == {"0": 0.25, "1": 0, "2": 0, "3": 0.5, "4": 0, "5": 0.25}
        assert (client["train"] + client["validation"], shown["shared"]["test"]) == (48, 4)
        assert any("rounded to a whole number" in note for note in shown["notes"])
    else:  # three candidates and two, of which one each is right
        assert client["label_shares"] == {"False": 0.6, "True": 0.4}
        assert (client["train"] + client["validation"], shown["shared"]["test"]) == (60, 5)
        assert "train: 60 examples in 24 groups." in shown["notes"]


@pytest.mark.slow
def test_preview_of_a_partition(config_file: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "many.jsonl", clients={"a": 300})
    options = ["--set", f"data.path={data}", "--set", "partition.kind=dirichlet"]
    few = [*options, "--set", "partition.alpha=0.1", "--set", "partition.clients=4"]
    picture = fedtt("data", "preview", config_file, *few)
    assert [line for line in picture.splitlines() if "client-0003" in line and "█" in line]
    assert "all (shared)" in picture
    shown = json.loads(fedtt("data", "preview", config_file, *few, "--json"))
    assert len(shown["clients"]) == 4
    assert shown["shared"]["test"] > 0
    assert shown["summary"]["clients"] == 4

    many = [*options, "--set", "partition.alpha=0.1", "--set", "partition.clients=40"]
    picture = fedtt("data", "preview", config_file, *many)
    assert "40 clients, training examples of each: " in picture
    assert "have one class only" in picture
    assert "all (shared)" in picture
    assert "client-0003" not in picture
    shown = json.loads(fedtt("data", "preview", config_file, *many, "--json"))
    assert [client["client_id"] for client in shown["clients"]][::39] == [
        "client-0000",
        "client-0039",
    ]
    assert sum(shown["summary"]["sizes"]["counts"]) == 40


def test_bad_input_exits_with_2_and_a_message_on_stderr(config_file: Path) -> None:
    assert fedtt("train", config_file, "--set", "rouns=3", code=2) == ""
    assert fedtt("train", config_file, "--sets", "rounds=3", code=2) == ""


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_ends_with_the_same_bits(
    config_file: Path, run: Path, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        [*FEDTT, "train", str(config_file), "--run", str(stopped)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("before training"):
            process.send_signal(signal.SIGINT)
            break
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130, message
    assert f"--resume {stopped}" in message
    assert "stopping after this step; Ctrl-C again to stop now" in message
    assert "Traceback" not in message
    assert not (stopped / "summary.json").exists()

    fedtt("train", "--resume", stopped, "--quiet")
    expected, resumed = (
        load_file(run / "state.safetensors"),
        load_file(stopped / "state.safetensors"),
    )
    assert set(expected) == set(resumed)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_nothing_that_takes_time_is_imported_before_a_ctrl_c_can_be_answered() -> None:
    """The command's script imports ``fedtt.cli`` alone, and then calls what catches it."""
    code = (
        "import sys; before = set(sys.modules); import fedtt.cli; print(*{*sys.modules} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    others = [name for name in done.stdout.split() if name.split(".")[0] != "fedtt"]
    assert {name.split(".")[0] for name in others} <= {"importlib", "warnings"}


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["--help"], "typer"),
        (["evaluate", "{run}"], "torch"),
        (["train", "{config}", "--run", "{new}"], "transformers"),
    ],
)
@pytest.mark.slow
def test_ctrl_c_while_modules_load_gives_no_traceback(
    config_file: Path, run: Path, tmp_path: Path, arguments: list[str], module: str
) -> None:
    """The signal arrives inside the import of ``module``, whose stand-in sends it."""
    stand_in = tmp_path / "stand-ins" / f"{module}.py"
    stand_in.parent.mkdir()
    stand_in.write_text(
        "import os, signal\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "raise AssertionError('not stopped')\n"
    )
    names = {"run": run, "config": config_file, "new": tmp_path / "new"}
    path = os.pathsep.join([str(stand_in.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*FEDTT, *(argument.format(**names) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 130, done.stderr
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
