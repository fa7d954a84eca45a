"""Client ids, labels and texts are anybody's words: printed as they are, or refused, never read."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from fedtt.cli import console as console_module
from fedtt.cli import main
from fedtt.cli.compare_command import _rich_table
from fedtt.cli.progress import watch
from fedtt.config import RunConfig, dump_config
from fedtt.experiment.comparison.text_tables import TextTable
from fedtt.experiment.events import RunPrepared, StepDone

MakeConfig = Callable[..., RunConfig]
CLIENTS = ["[/b] ward", "[red]", ":smile:", "back\\", "{task}"]
CONTROL = "\x1b[31mred\r\x9b2J\u202e"
ESCAPED = r"\x1b[31mred\r\x9b2J\u202e"
LABELS = ["[bold]good[/]", ":poop:"]
TEXT = "a [red]great[/nothing] plot :smile: " + "word " * 100 + "end\\"


@pytest.fixture(scope="module")
def config_file(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {"text": f"film {client} {i}", "label": LABELS[i % 2], "client": client}
        for client in [*CLIENTS, CONTROL]
        for i in range(20)
    ]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "config.toml"
    config = make_config(
        rounds=1,
        data={"path": str(data), "test": 0.2, "validation": 0.2},
        client={"steps": 1, "batch_size": 4},
    )
    path.write_text(dump_config(config))
    return path


@pytest.fixture
def fedtt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["fedtt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert caught.value.code == 0, output
        return output.out

    return run


def test_names_and_texts_are_printed_as_they_are(
    fedtt: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    shown = fedtt("data", "preview", config_file)
    assert [word for word in [*CLIENTS, *LABELS] if word not in shown] == []
    trained = fedtt("train", config_file, "--run", tmp_path / "run")
    assert [client for client in CLIENTS if client not in trained] == []
    measured = fedtt("evaluate", tmp_path / "run")
    assert [client for client in CLIENTS if client not in measured] == []

    (line,) = fedtt("predict", tmp_path / "run", TEXT).splitlines()
    assert line.endswith(TEXT)
    assert line.startswith(tuple(LABELS))
    (document,) = json.loads(fedtt("predict", tmp_path / "run", TEXT, "--json"))
    assert document["text"] == TEXT
    assert set(document["probabilities"]) == set(LABELS)


def test_control_characters_reach_no_terminal(
    fedtt: Callable[..., str], config_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    text = f"a great {CONTROL} plot"
    shown = {
        "preview": fedtt("data", "preview", config_file),
        "preview --json": fedtt("data", "preview", config_file, "--json"),
        "train": fedtt("train", config_file, "--run", run, "--set", "evaluation.alone=true"),
        "evaluate": fedtt("evaluate", run),
        "evaluate --json": fedtt("evaluate", run, "--json"),
        "predict": fedtt("predict", run, text),
        "predict --json": fedtt("predict", run, text, "--json"),
    }
    for name, output in shown.items():
        assert console_module.CONTROLS.findall(output) == [], name
        assert ESCAPED in output or "json" in name, name
    (document,) = json.loads(shown["predict --json"])
    assert document["text"] == text
    console_module.print_error("error: ", f"no file {CONTROL}\n  fix: give one", style="red")
    assert capsys.readouterr().err == f"error: no file {ESCAPED}\n  fix: give one\n"


def test_letters_of_every_script_are_no_controls() -> None:
    for text in ("Grüße, 你好\t\u05e9\u05dc\n", "\u06cc\u200c\u062e", "👩\u200d⚕️ 12\xa0€"):
        assert console_module.escape_controls(text) == text


@pytest.mark.parametrize("client", [*CLIENTS, CONTROL])
def test_the_live_line_shows_names_as_they_are(client: str) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120, markup=False, emoji=False)
    prepared = RunPrepared(
        rounds=1,
        next_round=0,
        clients=(client,),
        cohort_size=1,
        alone=False,
        exchanged_parameters={"cores": 1},
        sent_bytes=0,
        notes=(),
    )
    step = StepDone(round_index=0, client_id=client, step=0, steps=1, loss=1.0, alone=False)
    with watch(terminal, silent=False) as notify:
        notify(prepared)
        notify(step)
    assert f"round 1/1 {console_module.escape_controls(client)}" in screen.getvalue()


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", '"ü\U0001f600"'), ("ascii", None)])
def test_json_is_written_in_what_stdout_can_hold(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str | None
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    console_module.print_json({"text": "ü\U0001f600"})
    sys.stdout.flush()
    written = raw.getvalue().decode(encoding)
    assert json.loads(written) == {"text": "ü\U0001f600"}
    assert expected is None or expected in written


def test_lines_are_written_in_what_stdout_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console_module.accept_any_character()
    console_module.print_line(console_module.console(), "ü \udce9")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\xfc \\udce9\n"


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█"), ("cp437", "█"), ("ascii", "#")])
def test_a_bar_is_drawn_in_what_stdout_can_hold(
    fedtt: Callable[..., str],
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    bar: str,
) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        fedtt("data", "preview", config_file)
    stream.flush()
    shown = raw.getvalue().decode(encoding)
    assert f" {bar * 20} " in shown
    assert "\\u2588" not in shown


def test_the_tables_of_a_comparison_are_written_in_what_stdout_can_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console_module.accept_any_character()
    text = TextTable(title="test", header=("", "Δ to lora"), rows=(("ü", "0.8 ± 0.1"),))
    console_module.console().print(_rich_table(text))
    sys.stdout.flush()
    shown = raw.getvalue().decode("ascii")
    assert "delta to lora" in shown
    assert "0.8 +- 0.1" in shown
    assert "\\xfc" in shown  # a name stays what it is


def test_many_labels_share_one_column(
    fedtt: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    rows = [{"text": f"text {i}", "label": f"topic{i % 60}", "client": "a"} for i in range(300)]
    data = tmp_path / "many.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = fedtt("data", "preview", config_file, "--set", f"data.path={data}")
    assert "commonest of 60 labels" in shown
    assert max(len(line) for line in shown.splitlines()) < 120
